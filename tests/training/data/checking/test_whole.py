"""Files whose end is missing or damaged are found, whole ones pass."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from training.data.checking.whole import check_audio, check_video
from training.data.record_error import RecordError
from training.data.record_writer import write_video

SOUNDS = [("WAV", "PCM_16"), ("AIFF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]


def sound(format: str, subtype: str) -> bytes:
    file = io.BytesIO()
    tone = (0.3 * np.sin(np.arange(48_000) / 5)).astype(np.float32)
    soundfile.write(file, tone, 16_000, format=format, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(("format", "subtype"), SOUNDS)
def test_sound_that_is_cut_short(format, subtype, tmp_path):
    data = sound(format, subtype)
    check_audio(data, "whole")
    with pytest.raises(RecordError, match="half") as error:
        check_audio(data[: len(data) // 2], "half")
    assert error.value.reason == "unreadable audio"
    (tmp_path / "half").write_bytes(data[: len(data) // 2])
    with pytest.raises(RecordError, match="half"):
        check_audio(str(tmp_path / "half"), "half")


@pytest.mark.parametrize("length", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_sound_whose_length_was_not_known_when_it_was_begun(length):
    """As programs write a WAV into a pipe, and our gateway into a response."""
    data = bytearray(sound("WAV", "PCM_16"))
    data[40:44] = length.to_bytes(4, "little")
    check_audio(bytes(data), "streamed")


@pytest.fixture
def video(tmp_path):
    file = tmp_path / "v.mp4"
    rng = np.random.default_rng(0)
    write_video(file, [Image.fromarray(rng.integers(0, 255, (96, 96, 3), np.uint8)) for _ in range(4)])
    return file


def test_a_video_of_which_a_part_is_lost(video):
    assert check_video(str(video), "v") == 16
    data = video.read_bytes()
    assert check_video(data, "v") == 16
    start = data.index(b"mdat") + 4
    kept = data[: start + 16] + bytes(9000) + data[start + 9016 :]
    with pytest.raises(RecordError, match=r"v: after \d+ frames"):
        check_video(kept, "v")
    with pytest.raises(RecordError, match="after 0 frames"):
        check_video(data[: len(data) // 2], "v")
