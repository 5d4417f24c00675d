"""A server that listens and says nothing hangs; one that refuses, fails or is not there does not."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.local import hung
from services.local.hung import QUESTIONS, Watched


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(hung, "PERIOD", 0.0)
    monkeypatch.setattr(hung, "ANSWER_SECONDS", 0.1)


@pytest.fixture
def silent():
    """The port of a process that was stopped: the kernel takes its connections, and nobody reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def failing():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(503)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_silence_is_told_once_after_a_few_questions(silent):
    watched = Watched(f"http://127.0.0.1:{silent}/healthz")
    assert [watched.is_hung() for _ in range(2 * QUESTIONS)] == 2 * [*(QUESTIONS - 1) * [False], True]


def test_one_that_was_silent_for_a_period_is_asked_again_at_once(silent, monkeypatch):
    monkeypatch.setattr(hung, "PERIOD", 0.1)
    watched = Watched(f"http://127.0.0.1:{silent}/healthz")
    assert any(watched.is_hung() for _ in range(QUESTIONS))


def test_a_server_that_fails_or_is_not_there_does_not_hang(failing):
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = server.getsockname()[1]
    for port in (failing, nobody):
        watched = Watched(f"http://127.0.0.1:{port}/healthz")
        assert not any(watched.is_hung() for _ in range(2 * QUESTIONS))


def test_it_is_asked_no_more_often_than_it_should_be(silent, monkeypatch):
    monkeypatch.setattr(hung, "PERIOD", 60.0)
    watched = Watched(f"http://127.0.0.1:{silent}/healthz")
    assert not any(watched.is_hung() for _ in range(10 * QUESTIONS))
