"""The proxy between lmms-eval and a gateway: videos become frames, everything else passes."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from PIL import Image

from benchmarks.harness_proxy import VideoProxy
from training.data.record_writer import write_video


class Upstream(BaseHTTPRequestHandler):
    """Keeps what it is asked, and is full if the message says so."""

    asked: list[tuple[str, str, dict]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers["Authorization"], body))
        self.send_response(429 if "full" in str(body) else 200)
        self.send_header("Retry-After", "5")
        self.send_header("Content-Length", "9")
        self.end_headers()
        self.wfile.write(b'{"a": 1} ')

    def log_message(self, *_) -> None: ...


@pytest.fixture
def asked() -> list:
    return []


@pytest.fixture
def ask(asked: list, tiny_config) -> Iterator:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Upstream,), {"asked": asked}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with VideoProxy(f"127.0.0.1:{server.server_port}", tiny_config.vision) as proxy:

        def post(content, **more) -> httpx.Response:
            body = {"model": "parley", "messages": [{"role": "user", "content": content}], **more}
            headers = {"Authorization": "Bearer key"}
            return httpx.post(f"http://{proxy.address}/v1/chat/completions", json=body, headers=headers)

        yield post
        server.shutdown()
        server.server_close()


def video(path: Path) -> dict:
    return {"type": "video_url", "video_url": {"url": f"file://{path}"}}


def test_a_video_becomes_its_frames(ask, asked: list, tmp_path: Path):
    file = tmp_path / "a%20video.mp4"
    write_video(tmp_path / "a video.mp4", [Image.new("RGB", (64, 48), colour) for colour in ("red", "green", "blue")])
    question = {"type": "text", "text": "what is it?"}
    answer = ask([video(file), question], media_io_kwargs={"video": {"num_frames": 10}})
    assert answer.status_code == 200 and answer.json() == {"a": 1}
    path, key, body = asked[0]
    assert (path, key, set(body)) == ("/v1/chat/completions", "Bearer key", {"model", "messages"})
    frames, text = body["messages"][0]["content"]
    assert text == question and frames["type"] == "video" and len(frames["video"]) == 4
    first = Image.open(io.BytesIO(base64.b64decode(frames["video"][0].partition(",")[2])))
    red, green, _ = first.getpixel((32, 24))
    assert first.size == (64, 48) and red > 200 and green < 60


def test_other_parts_pass_and_so_do_refusals(ask, asked: list):
    parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}, {"type": "text", "text": "full"}]
    answer = ask(parts)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert asked[0][2]["messages"][0]["content"] == parts
    assert ask("hello").status_code == 200


def test_a_video_that_cannot_be_read_is_a_failed_request(ask, asked: list, tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    answer = ask([video(tmp_path / "a.mp4")])
    assert answer.status_code == 400 and "cannot read" in answer.json()["error"]["message"] and not asked
