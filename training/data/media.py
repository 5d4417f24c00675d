"""What records name, decoded: the files of a sample, the speech of an utterance."""

from __future__ import annotations

import io
import os
from dataclasses import replace

import numpy as np
import soundfile

from parley.config import ParleyConfig
from parley.media.audio import read_audio, resample
from parley.media.image import read_image
from parley.media.video import read_video
from training.data.record_error import RecordError
from training.data.sample import Sample
from training.data.source import Utterance

LONGEST = 600.0  # seconds of an utterance, and of a sound in a sample
OVERSHOOT = 0.1  # seconds that a span may end behind its file: manifests are rounded
PREROLL = 1.0  # seconds decoded in front of a span of MP3, whose frames need the bits of those before them


def open_sample(sample: Sample, config: ParleyConfig) -> Sample:
    """`sample` with its media decoded: PIL pictures, lists of PIL frames, float32 audio at the encoder's sample rate.

    Raises `RecordError`, which names the file, for one that cannot be read.
    """
    messages = []
    for message in sample.messages:
        content = message["content"]
        if not isinstance(content, str):
            content = [_opened_part(part, config) for part in content]
        messages.append({**message, "content": content})
    return replace(sample, messages=messages)


def _opened_part(part: dict, config: ParleyConfig) -> dict:
    kind = part["type"]
    if kind == "text":
        return part
    name = part.get("name") or part[kind]
    try:
        match kind:
            case "image":
                content = read_image(part[kind])
            case "video":
                content = read_video(part[kind], config.vision)
            case "audio":
                content = read_audio(part[kind], config.speech.sample_rate, max_seconds=LONGEST)
    except (ValueError, OSError, MemoryError) as error:  # a damaged header may promise terabytes
        raise RecordError(f"unreadable {kind}", f"{name}: {error}") from None
    return {**part, kind: content}


def read_utterance(utterance: Utterance, sample_rate: int, *, lowest_rate: int = 0) -> np.ndarray:
    """The speech of an utterance, mono float32 [samples] in [-1, 1] at `sample_rate` Hz; only its span is decoded.

    Raises `RecordError`, with the file and the span, for what cannot be read, is no sound, ends before the span does,
    is longer than `LONGEST`, or was recorded at less than `lowest_rate` Hz.
    """
    named = describe(utterance)
    try:
        with _opened(utterance.audio) as file:
            start, frames = _span(utterance, file, named)
            if file.samplerate < lowest_rate:
                detail = f"{named} is of {file.samplerate} Hz; at least {lowest_rate} Hz are needed"
                raise RecordError("too low a sample rate", detail)
            samples, rate = _decoded(file, start, frames), file.samplerate
    except (soundfile.LibsndfileError, OSError) as error:
        raise RecordError("unreadable audio", f"{named} cannot be read as sound: {error}") from None
    if len(samples) < frames - OVERSHOOT * rate:
        raise RecordError(
            "unreadable audio", f"{named} is cut short: {len(samples)} of {frames} samples can be decoded"
        )
    mono = _mono(samples, utterance.channel, named)
    if not np.isfinite(mono).all():
        raise RecordError("unreadable audio", f"{named} has samples that are no numbers")
    return np.clip(resample(mono, rate, sample_rate), -1.0, 1.0)


def describe(utterance: Utterance) -> str:
    """The file and the span of an utterance, for messages."""
    file = "the audio" if isinstance(utterance.audio, bytes) else utterance.audio
    if utterance.seconds is None:
        return f"{file} from {utterance.start:g} s" if utterance.start else str(file)
    return f"{file} from {utterance.start:g} to {utterance.start + utterance.seconds:g} s"


def _decoded(file: soundfile.SoundFile, start: int, frames: int) -> np.ndarray:
    """float32 [frames, channels] from frame `start` on."""
    early = min(start, round(PREROLL * file.samplerate)) if file.format == "MP3" else 0
    file.seek(start - early)
    return file.read(early + frames, dtype="float32", always_2d=True)[early:]


def _mono(samples: np.ndarray, channel: int | None, named: str) -> np.ndarray:
    """float32 [samples, channels] → [samples]"""
    if channel is None:
        return samples.mean(axis=1)
    if not 0 <= channel < samples.shape[1]:
        raise RecordError("no such channel", f"{named} has {samples.shape[1]} channels and no channel {channel}")
    return samples[:, channel]


def _opened(audio: str | bytes) -> soundfile.SoundFile:
    if isinstance(audio, bytes):
        return soundfile.SoundFile(io.BytesIO(audio))
    if not os.path.isfile(audio):
        raise RecordError("missing file", f"audio file {audio} does not exist")
    return soundfile.SoundFile(audio)


def _span(utterance: Utterance, file: soundfile.SoundFile, named: str) -> tuple[int, int]:
    """(first frame, frames) of the utterance in the file."""
    rate = file.samplerate
    start = round(utterance.start * rate)
    end = file.frames if utterance.seconds is None else round((utterance.start + utterance.seconds) * rate)
    if start < 0 or end > file.frames + OVERSHOOT * rate or start >= file.frames:
        raise RecordError("span outside the file", f"{named}: the file lasts {file.frames / rate:.2f} s")
    if end <= start:
        raise RecordError("empty span", f"{named}: there is nothing between its start and its end")
    if end - start > LONGEST * rate:
        detail = f"{named} lasts {(end - start) / rate:.0f} s; at most {LONGEST:g} s are read as one utterance"
        raise RecordError("too long", detail)
    return start, min(end, file.frames) - start
