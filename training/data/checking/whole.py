"""Whether a file is whole: what training reads of it does not show that its end is missing.

A picture is decoded whole when it is read. Of a video only the frames that the model sees are; and of sound whose end
is missing, libsndfile gives what is there.
"""

from __future__ import annotations

import io
import re

import av
import soundfile

from training.data.record_error import RecordError

UNKNOWN = (0, 0x7FFF_0000)  # a length in a header that is this, or larger, was written before the sound was known
CLAIMED = re.compile(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
SLACK_BYTES = 4096
SLACK = 0.02  # share of the samples; an MP3 without an index states its length roughly
BLOCK = 1 << 20  # samples


def check_audio(audio: str | bytes, name: str) -> None:
    """Raises `RecordError` if a sound file has less sound than its header says, or cannot be read."""
    try:
        with soundfile.SoundFile(io.BytesIO(audio) if isinstance(audio, bytes) else audio) as file:
            for said, there in CLAIMED.findall(file.extra_info):
                if UNKNOWN[0] < int(said) < UNKNOWN[1] and int(said) > int(there) + SLACK_BYTES:
                    raise cut_short(name, f"{there} of {said} bytes of sound are there")
            decoded = 0
            while block := len(file.read(BLOCK, dtype="float32", always_2d=True)):
                decoded += block
            if decoded < file.frames * (1 - SLACK) - 1:
                raise cut_short(name, f"{decoded} of {file.frames} samples can be decoded")
    except (soundfile.LibsndfileError, OSError) as error:
        raise RecordError("unreadable audio", f"{name} cannot be read as sound: {error}") from None


def check_video(video: str | bytes, name: str) -> int:
    """The number of frames, all decoded. Raises `RecordError` if one cannot be."""
    frames = 0
    try:
        with av.open(io.BytesIO(video) if isinstance(video, bytes) else video) as container:
            for frame in container.decode(container.streams.video[0]):
                if frame.is_corrupt:
                    raise RecordError("unreadable video", f"{name}: frame {frames} is damaged")
                frames += 1
    except (av.FFmpegError, OSError) as error:
        raise RecordError("unreadable video", f"{name}: after {frames} frames: {error.strerror or error}") from None
    return frames


def cut_short(name: str, detail: str) -> RecordError:
    return RecordError("unreadable audio", f"{name} is cut short: {detail}")
