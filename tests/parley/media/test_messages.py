"""Messages with files become messages with arrays."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parley.config import preset
from parley.media.audio import write_wav
from parley.media.image import frames_to_pixels, tile
from parley.media.messages import read_media

CONFIG = preset("nano")
PICTURE = Image.effect_noise((40, 30), 50).convert("RGB")
EXAMPLES = Path(__file__).parents[3] / "examples"


def read(kind: str, content):
    messages = [{"role": "user", "content": [{"type": "text", "text": "look"}, {"type": kind, kind: content}]}]
    (message,) = read_media(messages, CONFIG)
    assert message["role"] == "user" and message["content"][0] == {"type": "text", "text": "look"}
    assert messages[0]["content"][1][kind] is content  # the caller's own messages stay
    return message["content"][1][kind]


def test_a_picture_may_be_a_path_bytes_or_a_pil_image(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    for content in (PICTURE, buffer.getvalue(), tmp_path / "a.png", str(tmp_path / "a.png")):
        assert np.array_equal(read("image", content), tile(PICTURE, CONFIG.vision))


def test_a_video_may_be_a_file_or_frames() -> None:
    assert np.array_equal(read("video", [PICTURE] * 2), frames_to_pixels([PICTURE] * 2, CONFIG.vision))
    assert read("video", EXAMPLES / "moving.mp4").shape[1:] == (3, 96, 96)


def test_audio_is_read_at_the_rate_of_the_model(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(24_000, np.float32), 24_000)
    waveform = read("audio", tmp_path / "a.wav")
    assert waveform.shape == (16_000,) and waveform.dtype == np.float32


@pytest.mark.parametrize("kind", ["image", "video", "audio"])
def test_arrays_and_words_stay(kind: str) -> None:
    array = np.zeros((2, 3), np.float32)
    assert read(kind, array) is array
    words = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    assert read_media(words, CONFIG) == words


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.png: No such file"):
        read("image", tmp_path / "nothing.png")
