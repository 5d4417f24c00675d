"""Messages with files and pictures → the same messages with arrays, as the model takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from parley.config import ParleyConfig
from parley.media.audio import read_audio
from parley.media.image import frames_to_pixels, read_image, tile
from parley.media.video import read_video

File = bytes | str | Path


def read_media(messages: list[dict[str, Any]], config: ParleyConfig) -> list[dict[str, Any]]:
    """The messages with every file read; what is an array already stays.

    An image is a file (its bytes or its path) or a PIL image and becomes pixels float32 `[tiles, 3, S, S]`; a video is
    a file or a list of PIL frames and becomes pixels too; audio is a file and becomes a waveform, float32 `[samples]`
    at the model's rate. Raises `ValueError` for a file that cannot be read.
    """
    return [
        message
        if isinstance(message.get("content", ""), str)
        else {**message, "content": [_read_part(part, config) for part in message["content"]]}
        for message in messages
    ]


def _read_part(part: dict[str, Any], config: ParleyConfig) -> dict[str, Any]:
    kind = part.get("type")  # a part of no known type is for the prompt writer to refuse
    match kind:
        case "image":
            return {**part, kind: _image(part[kind], config)}
        case "video":
            return {**part, kind: _video(part[kind], config)}
        case "audio" if isinstance(part[kind], File):
            return {**part, kind: read_audio(part[kind], config.speech.sample_rate)}
    return part


def _image(content: Any, config: ParleyConfig) -> np.ndarray | Any:
    image = read_image(content) if isinstance(content, File) else content
    return tile(image, config.vision) if isinstance(image, Image.Image) else image


def _video(content: Any, config: ParleyConfig) -> np.ndarray | Any:
    frames = read_video(content, config.vision) if isinstance(content, File) else content
    return frames_to_pixels(frames, config.vision) if isinstance(frames, list) else frames
