"""Whether others than this machine can reach the gateway, and what it must have then."""

from __future__ import annotations

import ipaddress
import ssl

from services.gateway.settings import AccessSettings, ServerSettings


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own, for itself only."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_exposed(server: ServerSettings) -> bool:
    return not is_loopback(server.published_host or server.host)


def check(server: ServerSettings, access: AccessSettings) -> None:
    """Raises `ValueError`, in one line, for settings with which nobody should listen."""
    if bool(server.tls_certificate) != bool(server.tls_key):
        raise ValueError("TLS needs both PARLEY_GATEWAY_SERVER_TLS_CERTIFICATE and PARLEY_GATEWAY_SERVER_TLS_KEY")
    if server.tls_certificate:
        _check_pair(server.tls_certificate, server.tls_key)
    if not is_exposed(server) or server.insecure:
        return
    missing = [] if server.tls_certificate else ["TLS (PARLEY_GATEWAY_SERVER_TLS_CERTIFICATE and _TLS_KEY)"]
    missing += ["API keys (PARLEY_GATEWAY_ACCESS_KEYS must not be off)"] if access.keys == "off" else []
    if missing:
        raise ValueError(
            f"refusing to listen on {server.published_host or server.host}, where other machines reach this gateway, "
            f"without {' and '.join(missing)}; set that (`parley up --tls` does), listen on 127.0.0.1, or allow it "
            "with --insecure (PARLEY_GATEWAY_SERVER_INSECURE=true)"
        )


def _check_pair(certificate: str, key: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or getattr(error, "reason", "") or error
        raise ValueError(f"the TLS certificate {certificate} with the key {key} cannot be used: {reason}") from None
