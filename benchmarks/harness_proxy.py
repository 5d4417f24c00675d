"""Passes the requests of lmms-eval on to a gateway, and puts the frames of its videos in the place of their paths.

lmms-eval sends a video as the path of a file, or as single pictures, which would be cut into tiles. Here it becomes a
`video` part: as many frames as the model looks at, in order, not tiled.
"""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from PIL import Image

from parley.config import VisionConfig
from parley.media.video import read_video

QUALITY = 95  # of a frame as JPEG
TIMEOUT_SECONDS = 600.0
UNKNOWN = ("media_io_kwargs",)  # what lmms-eval adds to a request with a video, for vLLM; a gateway refuses it
KEPT = ("content-type", "retry-after", "retry-after-ms")  # headers of an answer


class VideoProxy:
    """While the context lasts, `address` answers like the gateway at `upstream` (both host:port).

    Args:
        config: how many frames of a video are sent.
    """

    def __init__(self, upstream: str, config: VisionConfig) -> None:
        self.config = config
        self.client = httpx.Client(base_url=f"http://{upstream}", timeout=TIMEOUT_SECONDS)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self.address = f"127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> VideoProxy:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.client.close()


class _Handler(BaseHTTPRequestHandler):
    proxy: VideoProxy

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            body = with_frames(body, self.proxy.config)
        except ValueError as error:  # lmms-eval counts it as a failed request
            self._answer(400, {"content-type": "application/json"}, json.dumps({"error": {"message": str(error)}}))
            return
        headers = {"Authorization": self.headers.get("Authorization", "")}
        try:
            answer = self.proxy.client.post(self.path, json=body, headers=headers)
        except httpx.HTTPError as error:
            self._answer(502, {"content-type": "application/json"}, json.dumps({"error": {"message": repr(error)}}))
            return
        self._answer(answer.status_code, answer.headers, answer.text)

    def _answer(self, status: int, headers: Any, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        for name in KEPT:
            if name in headers:
                self.send_header(name, headers[name])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None:
        """Nothing: lmms-eval shows its progress."""


def with_frames(body: dict, config: VisionConfig) -> dict:
    """The body of a chat with the frames of each video file. Raises `ValueError` for one that cannot be read."""
    messages = [
        message
        if isinstance(message.get("content"), str)
        else {**message, "content": [_part(part, config) for part in message["content"]]}
        for message in body["messages"]
    ]
    return {name: value for name, value in body.items() if name not in UNKNOWN} | {"messages": messages}


def _part(part: dict, config: VisionConfig) -> dict:
    if part["type"] != "video_url" or not part["video_url"]["url"].startswith("file:"):
        return part
    frames = read_video(unquote(urlsplit(part["video_url"]["url"]).path), config)
    return {"type": "video", "video": [data_url(frame) for frame in frames]}


def data_url(frame: Image.Image) -> str:
    file = io.BytesIO()
    frame.convert("RGB").save(file, format="JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
