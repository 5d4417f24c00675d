"""What `parley up` prints."""

from pathlib import Path

import pytest

from cli.up import print_addresses, without_password
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


def test_addresses_name_the_services_as_their_calls_do(capsys):
    state = StackState("id", 1, 1.0, "/tmp/x", gateway="g:1", http="h:2", services="s:3", redis_url="redis://:p@r")
    print_addresses(state, Path(".parley/logs"))
    out = capsys.readouterr().out
    assert "s:3  (gRPC, metadata application: vision_encoder | speech_encoder | llm_core | speech_decoder)\n" in out
    assert "redis://…@r" in out and ":p@" not in out and ".parley/logs" in out
