"""TLS certificates for the gateway of a local stack: made on this machine, kept outside the repository, used again.

An authority of this machine alone signs the gateway's certificate. Its private key is thrown away with that: whoever
trusts the authority, as a phone may have to, trusts this one certificate and nothing else.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = timedelta(days=365)
LEAST_LEFT = timedelta(days=14)  # a certificate that expires sooner is made anew
ALWAYS = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class Certificate:
    """PEM files. `chain` is what the gateway shows, `authority` what a client trusts."""

    chain: Path
    key: Path
    authority: Path

    @classmethod
    def of(cls, folder: Path) -> Certificate:
        return cls(folder / "certificate.pem", folder / "key.pem", folder / "authority.pem")

    @property
    def fingerprint(self) -> str:
        """SHA-256, as browsers show it."""
        return self._read().fingerprint(hashes.SHA256()).hex(":").upper()

    def serves(self, addresses: list[str], now: datetime) -> bool:
        """Whether it is whole, holds for all of `addresses`, and does not expire soon."""
        try:
            certificate = self._read()
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        except (OSError, ValueError):
            return False
        held = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
        is_pair = key.public_key() == certificate.public_key()  # not so after a crash between the two files
        fresh = certificate.not_valid_after_utc - now > LEAST_LEFT
        return set(addresses) <= held and fresh and is_pair and self.authority.exists()

    def _read(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.chain.read_bytes())


def default_folder() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "parley" / "tls"


def lan_addresses() -> list[str]:
    """IPv4 addresses under which other machines reach this one."""
    found = [address.address for each in psutil.net_if_addrs().values() for address in each if _is_ipv4(address)]
    return sorted(found, key=lambda address: (not ipaddress.ip_address(address).is_private, address))


def _is_ipv4(address) -> bool:
    if address.family is not socket.AF_INET:
        return False
    parsed = ipaddress.ip_address(address.address)
    return not (parsed.is_loopback or parsed.is_link_local)


def obtain(folder: Path, addresses: list[str]) -> Certificate:
    """The certificate in `folder`, if it serves; else a new one. Raises `OSError` where `folder` cannot be written."""
    certificate, now = Certificate.of(folder), datetime.now(UTC)
    if not certificate.serves([*ALWAYS, *addresses], now):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(certificate, [*ALWAYS, *addresses], now)
    return certificate


def _make(certificate: Certificate, addresses: list[str], now: datetime) -> None:
    signing, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _authority(signing, now)
    server = _server(key, authority, signing, addresses, now)
    _write(certificate.key, _pem(key), 0o600)
    _write(certificate.authority, authority.public_bytes(serialization.Encoding.PEM), 0o644)
    chain = [each.public_bytes(serialization.Encoding.PEM) for each in (server, authority)]
    _write(certificate.chain, b"".join(chain), 0o644)  # last: it says that the others are there


def _authority(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = _name(f"Parley on {socket.gethostname()}")
    return (
        _builder(name, name, key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    signing: ec.EllipticCurvePrivateKey,
    addresses: list[str],
    now: datetime,
) -> x509.Certificate:
    names = [x509.DNSName("localhost"), *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses)]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
    return (
        _builder(_name("Parley"), authority.subject, key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(issuer, critical=False)
        .sign(signing, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _usage(**allowed: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    more = ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in (*names, *more)})


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    temporary.replace(path)
