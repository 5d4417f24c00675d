"""The local stack's own parts, without a stack: what is undone, shown and refused, whatever goes wrong."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cli.status import health
from cli.up import without_password
from services.local import memory, ports, state
from services.local import supervisor as keeper
from services.local.stack import LocalStack

ROOT = Path(__file__).parents[3]


@pytest.fixture
def options(tmp_path) -> keeper.Options:
    """Those of a stack whose checkpoint is no more than a manifest."""
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "manifest.json").write_text("{}")
    return keeper.Options(str(tmp_path / ".parley"), str(checkpoint), port=1, http_port=2)


NODE = """
import json, os, sys, time
print("starting")
time.sleep(0.3)
print(json.dumps({"ready": ["vision"]}), flush=True)
os.write(1, b"x" * (1 << 20))  # far more than a pipe holds
open("went-on", "w").close()
time.sleep(60)
"""


def test_a_node_that_goes_on_writing_is_never_stuck(options, tmp_path, monkeypatch):
    (tmp_path / "services").mkdir()
    (tmp_path / "services/__init__.py").touch()
    (tmp_path / "services/local/node.py").write_text(NODE)
    monkeypatch.chdir(tmp_path)
    head = keeper.Keeper(options)
    head.make_folders()
    try:
        head.start_services()
        assert not head.services_are_ready()
        until = time.monotonic() + 60
        while not (head.services_are_ready() and (tmp_path / "went-on").exists()):
            assert head.children["services"].poll() is None and time.monotonic() < until, head.last_line("services")
            time.sleep(0.05)
    finally:
        head.stop()
    assert head.children["services"].poll() is not None and not head.runtime.exists()


@pytest.mark.parametrize("what", ["logs", "state.tmp"])
def test_a_keeper_that_fails_at_once_says_why_and_leaves_nothing(options, what):
    in_the_way = Path(options.directory) / what
    in_the_way.parent.mkdir()
    in_the_way.touch() if what == "logs" else in_the_way.mkdir()
    name = f"test-{os.getpid()}"
    done = subprocess.run(
        [sys.executable, "-c", f"from services.local import supervisor; {KEEPER}", name],
        cwd=ROOT,
        input=json.dumps(vars(options)) + "\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr == ""
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "failed" and what in last["text"]
    assert not Path(f"/tmp/parley-{name}").exists()


KEEPER = "import sys; keeper.secrets.token_hex = lambda size: sys.argv[1]; keeper.main()"

FRONT = """
import pathlib, sys, time
from cli import demo, up
from services.local.stack import LocalStack

class Slow(LocalStack):
    def start(self, on_progress):
        print("up", flush=True)
        time.sleep(60)

    def stop(self):
        print("stopping", flush=True)
        time.sleep(1)
        pathlib.Path(sys.argv[2]).touch()

module = {"demo": demo, "up": up}[sys.argv[1]]
module.LocalStack = Slow
sys.argv = ["parley"]
module.app()
"""


@pytest.mark.parametrize("command", ["up", "demo"])
def test_impatience_does_not_cut_the_end_of_a_stack_short(command, tmp_path):
    front = subprocess.Popen(
        [sys.executable, "-c", FRONT.replace("sys.argv[2]", repr(str(tmp_path / "down"))), command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    lines = iter(front.stdout.readline, "")
    assert any(line == "up\n" for line in lines)
    front.send_signal(signal.SIGINT)
    assert any(line == "stopping\n" for line in lines)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        front.send_signal(number)
    front.wait(60)
    assert (tmp_path / "down").exists(), "".join(lines)


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


def test_ports_that_are_promised_to_another_are_not_given_away(monkeypatch):
    monkeypatch.setattr(ports, "RANGE", range(10_000, 10_003))
    monkeypatch.setattr(ports, "_is_free", lambda port: port != 10_001)
    assert ports.free(1, besides=[10_000]) == [10_002]
    assert ports.choose(0, "--port", besides=[10_002]) == 10_000
    with pytest.raises(OSError, match="only 2 of 3 ports"):
        ports.free(3)


def test_two_stacks_that_look_at_once_share_no_port(monkeypatch):
    monkeypatch.setattr(ports, "BLOCKS", range(31_000, 31_030, 10))
    claims = [ports.claim(), ports.claim()]
    try:
        assert not set(claims[0][1]) & set(claims[1][1])
        with pytest.raises(OSError, match="no block of ports is free"):
            ports.claim(besides=[31_005, 31_015, 31_025])
    finally:
        for mark, _ in claims:
            mark.close()


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["ray::ServeReplica:vision:vision"], "vision"),
        (["ray::ServeController"], "ray::ServeController"),
        (["/venv/bin/python", "-m", "services.gateway"], "services.gateway"),
        (["/venv/bin/python", "-u", "/ray/dashboard/dashboard.py", "--host=127.0.0.1"], "dashboard.py"),
        (["/venv/bin/valkey-server unixsocket:/tmp/parley-1/valkey.sock"], "valkey-server"),
        ([], "?"),
    ],
)
def test_processes_are_shown_by_what_they_are(command, name):
    assert memory._name(command) == name


def test_one_port_is_not_taken_for_two(options, tmp_path):
    (port,) = ports.free(1)
    stack = LocalStack(Path(options.checkpoint), tmp_path / "stack", port=port, http_port=port)
    with pytest.raises(ValueError, match=f"port {port} is taken; choose another with --port"):
        stack.start()
    assert os.listdir(tmp_path / "stack") == []


@pytest.mark.parametrize("text", ["{", "[]", '{"stack_id": 1}'])
def test_a_state_of_another_kind_is_named(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(ValueError, match="damaged or of another version"):
        state.read(tmp_path)


@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (200, b"{}", "ok"),
        (503, b'{"status": "not ready", "missing": ["redis", "voice"]}', "HTTP 503, misses redis, voice"),
        (502, b"no backend", "HTTP 502, no backend"),
    ],
)
def test_status_says_what_is_missing(code, body, said):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert health(f"127.0.0.1:{server.server_port}", "/readyz") == said
        thread.join()
    assert "refused" in health(f"127.0.0.1:{server.server_port}", "/readyz")
