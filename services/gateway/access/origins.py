"""From which web pages a browser may use this gateway. Other clients send no origin, and need none."""

from __future__ import annotations

from urllib.parse import urlsplit

import grpc

from services.gateway.access.exposure import is_exposed, is_loopback
from services.gateway.settings import AccessSettings, ServerSettings
from services.rpc.errors import ServiceError
from services.telemetry import metrics


class Origins:
    def __init__(self, settings: AccessSettings, server: ServerSettings):
        self.allowed = [origin.strip().rstrip("/") for origin in settings.origins.split(",") if origin.strip()]
        # A stranger's page may give its own name this gateway's address (DNS rebinding). That helps it only where
        # neither a key nor a certificate is asked for, and a name, not an address, is in the URL.
        protected = bool(server.tls_certificate) or settings.keys == "required"
        self._any_name = protected or (is_exposed(server) and not server.insecure)

    def check(self, origin: str, host: str) -> None:
        """`origin` and `host` as the headers say; empty: the client sent none. Raises PERMISSION_DENIED."""
        if not origin or "*" in self.allowed or origin in self.allowed or self._is_own(origin, host):
            return
        metrics.REFUSED.labels("gateway", "origin").inc()
        message = (
            f"pages of {origin[:200]!r} may not use this gateway; PARLEY_GATEWAY_ACCESS_ORIGINS lists those that may"
        )
        raise ServiceError(grpc.StatusCode.PERMISSION_DENIED, message)

    def _is_own(self, origin: str, host: str) -> bool:
        """The page came from this gateway. A proxy may have ended TLS, so the scheme is not compared."""
        try:
            parts = urlsplit(origin)
            own = parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()
            return own and (self._any_name or _is_address(parts.hostname or ""))
        except ValueError:
            return False


def _is_address(host: str) -> bool:
    return is_loopback(host) or ":" in host or host.replace(".", "").isdigit()
