"""A gateway that others reach has TLS and keys, or does not start."""

from __future__ import annotations

import pytest

from services.gateway.access import exposure
from services.gateway.settings import AccessSettings, ServerSettings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "app.localhost"])
def test_what_only_this_machine_reaches_needs_nothing(host):
    exposure.check(ServerSettings(host=host), AccessSettings(keys="off"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "fe80::1%eth0", "parley.example", ""])
def test_what_others_reach_needs_tls(host):
    with pytest.raises(ValueError, match=r"without TLS .*--insecure") as caught:
        exposure.check(ServerSettings(host=host), AccessSettings())
    assert "\n" not in str(caught.value)
    exposure.check(ServerSettings(host=host, insecure=True), AccessSettings())


def test_a_published_address_counts_in_place_of_the_own():
    inside = {"host": "0.0.0.0"}
    exposure.check(ServerSettings(**inside, published_host="127.0.0.1"), AccessSettings())
    with pytest.raises(ValueError, match=r"refusing to listen on 10\.0\.0\.1"):
        exposure.check(ServerSettings(**inside, published_host="10.0.0.1"), AccessSettings())


def test_keys_cannot_be_off_where_others_reach_it(certificate):
    server = ServerSettings(host="0.0.0.0", tls_certificate=str(certificate.file), tls_key=str(certificate.key))
    exposure.check(server, AccessSettings())
    with pytest.raises(ValueError, match="without API keys"):
        exposure.check(server, AccessSettings(keys="off"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"tls_key": ""}, "TLS needs both"),
        ({"tls_certificate": ""}, "TLS needs both"),
        ({"tls_certificate": "/nowhere.pem"}, "No such file"),
        ({"tls_key": __file__}, "cannot be used"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_one_line(certificate, change, complaint):
    files = {"tls_certificate": str(certificate.file), "tls_key": str(certificate.key)}
    with pytest.raises(ValueError, match=complaint) as caught:
        exposure.check(ServerSettings(**files | change), AccessSettings())
    assert "\n" not in str(caught.value)
