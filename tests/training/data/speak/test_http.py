"""Speech by HTTP: what is asked, what is tried again, and where the key never is. Our own gateway: tests/services."""

import io
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from parley.media.audio import write_wav
from training.data.speak.engine import SpeechError
from training.data.speak.http import HttpEngine
from training.data.speak.retry import Retries


def tone() -> bytes:
    file = io.BytesIO()
    write_wav(file, np.sin(np.arange(2400) / 5), 24_000)
    return file.getvalue()


@contextmanager
def server(*answers: tuple[int, dict, bytes]):
    """Its address and the requests that came; the last answer is given again and again."""
    asked, waiting = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append((self.path, self.headers.get("authorization"), body))
            status, headers, content = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            self.send_response(status)
            for name, value in ({"content-length": str(len(content))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            return

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/v1", asked
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def test_what_is_asked():
    with server((200, {}, tone())) as (url, asked):
        engine = HttpEngine(url, "tts-1", key="sk-secret")
        audio = engine.speak("What is\n this?", "alloy", 1.1)
        engine.close()
    assert len(audio) == 1600
    body = {"model": "tts-1", "input": "What is this?", "voice": "alloy", "speed": 1.1, "response_format": "wav"}
    assert asked == [("/v1/audio/speech", "Bearer sk-secret", body)]
    assert "secret" not in json.dumps(engine.describe())


def test_a_busy_server_is_asked_again_when_it_says():
    busy = 503, {"retry-after": "0"}, b"full"
    with server(busy, (429, {"retry-after": "0.01"}, b""), (200, {}, tone())) as (url, asked):
        engine = HttpEngine(url, "tts-1")
        assert len(Retries(attempts=3, pause=30)(lambda: engine.speak("hello", "alloy", 1))) == 1600
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("answer", "message", "again"),
    [
        ((400, {}, b'{"error": "too long"}'), "400: .*too long", False),
        ((500, {}, b""), "answered with 500", True),
        ((200, {}, b"<html>"), "not a sound file", True),
        ((200, {"content-length": "9999"}, tone()), "RemoteProtocolError", True),
    ],
)
def test_answers_that_are_no_speech(answer, message, again):
    with server(answer) as (url, _), pytest.raises(SpeechError, match=message) as failure:
        HttpEngine(url, "tts-1").speak("hello", "alloy", 1)
    assert failure.value.again is again


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_address_ends_the_run(status):
    with server((status, {}, b"no")) as (url, asked), pytest.raises(ValueError, match=f"answered with {status}"):
        Retries(attempts=3)(lambda: HttpEngine(url, "tts-1", "sk-secret").speak("hello", "alloy", 1))
    assert len(asked) == 1


def test_nobody_listens():
    with server((200, {}, b"")) as (url, _):
        pass
    with pytest.raises(SpeechError, match="ConnectError") as failure:
        HttpEngine(url, "tts-1").speak("hello", "alloy", 1)
    assert failure.value.again


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host/v1", "http://", "http://user:pass@host/v1"])
def test_addresses_that_cannot_be(url):
    with pytest.raises(ValueError, match=r"no HTTP address|must not hold a password"):
        HttpEngine(url, "tts-1")


def test_a_query_is_sent_and_not_written_down():
    engine = HttpEngine("https://host/openai/audio/speech?api-key=secret", "tts-1")
    assert engine.describe()["url"] == "https://host/openai/audio/speech"
