"""The certificate of `parley up --tls`: who trusts it, how long it is used, who may read its key."""

import asyncio
import ssl
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.local import certificate

LAN = ["192.168.7.20"]


@pytest.fixture
def made(tmp_path):
    return certificate.obtain(tmp_path / "tls", LAN)


def test_only_its_owner_reads_the_key_and_nobody_keeps_the_authoritys(made):
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.key.parent.stat().st_mode) == 0o700
    private = [path.name for path in made.key.parent.iterdir() if b"PRIVATE" in path.read_bytes()]
    assert private == ["key.pem"]


def test_it_holds_for_this_machine_and_its_addresses_for_a_year(made):
    server = x509.load_pem_x509_certificate(made.chain.read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", *LAN]
    assert timedelta(days=364) < server.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=365)


def test_it_is_used_again_until_it_expires_or_the_machine_has_another_address(made):
    folder, before = made.key.parent, made.fingerprint
    assert certificate.obtain(folder, LAN).fingerprint == before
    assert certificate.obtain(folder, []).fingerprint == before
    now = datetime.now(UTC)
    assert made.serves(LAN, now + timedelta(days=350))
    assert not made.serves(LAN, now + timedelta(days=352))
    assert certificate.obtain(folder, ["10.0.0.9"]).fingerprint != before


def test_a_damaged_one_is_made_anew(made):
    made.chain.write_text("no certificate")
    assert certificate.obtain(made.key.parent, LAN).fingerprint
    made.key.unlink()
    assert certificate.obtain(made.key.parent, LAN).key.exists()


def test_one_whose_key_is_another_is_made_anew(made):
    other = ec.generate_private_key(ec.SECP256R1())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    made.key.write_bytes(other.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))  # a crash between the two
    again = certificate.obtain(made.key.parent, LAN)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(again.chain, again.key)


async def test_a_client_that_trusts_the_authority_connects_and_no_other(made):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.chain, made.key)

    async def answer(reader, writer):
        writer.write(b"hello")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        trusting = ssl.create_default_context(cafile=made.authority)
        trusting.verify_flags |= ssl.VERIFY_X509_STRICT  # as newer versions of Python do
        for name in ("127.0.0.1", "localhost"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=name)
            assert await reader.read() == b"hello"
            writer.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="elsewhere.example")


def test_addresses_of_this_machine_alone_are_not_of_the_network():
    assert not {"127.0.0.1", "::1"} & set(certificate.lan_addresses())
