"""Whether a replica of this node answers, and what happens before its pod stops: real sockets, no Ray."""

import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ray.scripts import scripts

from services.ray import node_replicas


@contextmanager
def replica(status: int) -> Iterator[int]:
    """A server that answers every request with `status`; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/-/healthz" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status, serves", [(200, True), (503, False)])
def test_a_replica_says_whether_it_serves(status, serves):
    with replica(status) as port:
        assert node_replicas.healthy(port) is serves
    assert not node_replicas.healthy(port)


def test_a_port_that_says_nothing_is_no_replica(monkeypatch):
    monkeypatch.setattr(node_replicas, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not node_replicas.healthy(silent.getsockname()[1])


def test_one_replica_that_serves_is_enough(monkeypatch):
    with replica(503) as stopping, replica(200) as running:
        for ports, ready in (([], False), ([stopping], False), ([stopping, running], True)):
            monkeypatch.setattr(node_replicas, "listening", lambda first, ports=ports: ports)
            assert node_replicas.ready() is ready


def test_ports_are_looked_at_from_the_lowest(monkeypatch):
    with replica(200) as port:
        assert port in node_replicas.listening(port)
        assert port in node_replicas.listening(port - node_replicas.PORTS + 1)
        assert port not in node_replicas.listening(port + 1)


def test_draining_waits_until_the_last_replica_has_gone(monkeypatch):
    asked, answers = [], [[40000, 40001], [40001], []]
    monkeypatch.setattr(node_replicas.subprocess, "run", lambda command, **_: asked.append(command))
    monkeypatch.setattr(node_replicas, "listening", lambda first: answers.pop(0))
    monkeypatch.setattr(node_replicas, "POLL_SECONDS", 0.001)
    node_replicas.drain(200.0)
    assert not answers and asked == [node_replicas.drain_command(200)]


def test_draining_ends_at_its_deadline(monkeypatch):
    monkeypatch.setattr(node_replicas.subprocess, "run", lambda *_, **__: None)
    monkeypatch.setattr(node_replicas, "listening", lambda first: [40000])
    monkeypatch.setattr(node_replicas, "POLL_SECONDS", 0.001)
    started = time.monotonic()
    node_replicas.drain(0.05)
    assert time.monotonic() - started >= 0.05


def test_ray_knows_the_command():
    """Ray hides it from its help and promises nothing about it."""
    _, name, *options = node_replicas.drain_command(30)
    command = scripts.cli.commands[name]
    given = command.make_context(name, options).params
    assert given["reason"] == node_replicas.DRAIN_REASON and given["deadline_remaining_seconds"] == 30
    assert given["node_id"] is None, "this node"


@pytest.mark.parametrize("arguments", [[], ["drain"], ["help"]])
def test_anything_else_prints_how_it_is_used(arguments):
    with pytest.raises(SystemExit) as ended:
        node_replicas.main(arguments)
    assert "ready | drain SECONDS" in str(ended.value)


def test_a_probe_loads_nothing_large():
    code = "import sys, services.ray.node_replicas; print(sorted({'grpc', 'ray', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
