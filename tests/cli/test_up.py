"""What `parley up` prints."""

from pathlib import Path

import pytest

from cli.up import print_addresses, print_page, without_password
from services.local import page_links
from services.local.certificate import obtain
from services.local.state import StackState


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("unix:///tmp/parley-1/valkey.sock", "unix:///tmp/parley-1/valkey.sock"),
        ("rediss://:secret@host:6379/1", "rediss://…@host:6379/1"),
        ("redis://me:se/cr@et@host", "redis://…@host"),
        ("redis://host?db=1&password=secret&timeout=2", "redis://host?db=1&password=…&timeout=2"),
    ],
)
def test_a_password_is_not_shown(url, shown):
    assert without_password(url) == shown


@pytest.fixture
def state() -> StackState:
    return StackState("id", 1, 1.0, "/tmp/x", gateway="g:1", http="h:2", services="s:3", redis_url="redis://:p@r")


def test_the_page_comes_first_and_needs_no_key_on_this_machine(state, capsys):
    print_page(state, "127.0.0.1", None, own_redis=False)
    assert capsys.readouterr().out == "page      http://h:2/\n"


def test_a_phone_is_given_links_that_open_the_page(state, capsys, monkeypatch, tmp_path):
    async def make_key(url):
        return "ek_1"

    certificate = obtain(tmp_path, ["192.168.7.20"])
    state.tls_authority = str(certificate.authority)
    monkeypatch.setattr(page_links, "make_key", make_key)
    monkeypatch.setattr(page_links.certificate, "lan_addresses", lambda: ["192.168.7.20"])
    print_page(state, "0.0.0.0", certificate, own_redis=False)
    page, phone, note, warning, trust = capsys.readouterr().out.splitlines()
    assert page == "page      https://h:2/#key=ek_1"
    assert phone == "phone     https://192.168.7.20:2/#key=ek_1"
    assert "two hours" in note and certificate.fingerprint in warning and str(certificate.authority) in trust


def test_no_key_is_made_in_a_redis_of_ones_own(state, capsys, tmp_path):
    certificate = obtain(tmp_path, [])
    print_page(state, "192.168.7.20", certificate, own_redis=True)
    out = capsys.readouterr().out
    assert "phone     https://192.168.7.20:2/\n" in out and "#key" not in out and "parley keys create" in out


def test_addresses_name_the_services_as_their_calls_do(state, capsys):
    print_addresses(state, Path(".parley/logs"))
    out = capsys.readouterr().out
    assert "s:3  (gRPC, metadata application: vision_encoder | speech_encoder | llm_core | speech_decoder)\n" in out
    assert "redis://…@r" in out and ":p@" not in out and ".parley/logs" in out
