"""Where speech starts, pauses and ends in a microphone's audio, from the probability of speech in each frame.

Notable points:
- Speech starts after a run of frames above one threshold and ends after a silence below a lower one (hysteresis).
- A start reaches back: the frames that decided it and a pre-roll in front of them belong to the question, so that the
  first syllable is not lost.
- More speech is asked for while an answer plays: a cough should not stop it. It need not be in a row there, since short
  sentences have dips ("count to two"). That speech may have begun is told before.
- Silence after a pause is held back: it belongs to the question only if speech goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from services.gateway.media.detector import FRAME_BYTES, FRAME_SECONDS, SAMPLE_RATE, Detector
from services.gateway.settings import VadSettings

DIP_FRAMES = 2  # without speech, as in a plosive: so many do not end the beginning of an interruption

Kind = Literal["maybe", "no", "start", "more", "pause", "end"]


@dataclass(frozen=True)
class Segment:
    """What was found in the audio.

    `maybe`: speech may have begun, while an answer is given; `start`, or `no` where it had not, follows. `start`: the
    first audio of a question. `more` of it. `pause`: it is silent; `audio` ends here. `end`: the question is over.
    """

    kind: Kind
    audio: bytes = b""  # 16 kHz, 16-bit
    at_ms: int = -1  # of a start its first sample, of a pause and an end their last, since the microphone was opened
    silent_seconds: float = 0.0  # of a pause and an end: since the last frame that was speech


def check_vad_rate(sample_rate: int) -> None:
    """Raises `ValueError` for a rate, in Hz, that the network cannot take."""
    if sample_rate != SAMPLE_RATE:
        raise ValueError(
            f"voice activity is detected at {SAMPLE_RATE} Hz, this model takes {sample_rate} Hz; use manual turns"
        )


@dataclass
class _Onset:
    """Speech that may be beginning."""

    run: int = 0  # frames of speech in a row
    spoken: int = 0  # frames of speech, in a row but for dips
    length: int = 0  # frames since the first of them
    dip: int = 0  # frames in a row without speech

    def add(self, speech: bool) -> None:
        """One more frame."""
        self.run = self.run + 1 if speech else 0
        self.dip = 0 if speech else self.dip + 1
        if self.dip > DIP_FRAMES:
            self.spoken = self.length = 0
        elif speech or self.spoken:
            self.spoken += speech
            self.length += 1


class VoiceActivity:
    """One microphone: audio in, the questions in it out. `close` must be called at the end."""

    def __init__(self, settings: VadSettings, sample_rate: int, detector: Detector):
        """`sample_rate`: Hz, of the audio to come. Raises `ValueError` for one that the network cannot take."""
        check_vad_rate(sample_rate)
        self._microphone = detector.open()
        self._start, self._end = settings.start, settings.end
        self._maybe_frames = _frame_count(settings.maybe_seconds)
        self._start_frames = _frame_count(settings.start_seconds)
        self._barge_in_frames = max(self._start_frames, _frame_count(settings.barge_in_seconds))
        self._pause_frames = _frame_count(settings.pause_seconds)
        self._end_seconds = settings.end_seconds
        self._preroll = round(settings.preroll_seconds / FRAME_SECONDS)
        self._held: deque[bytes] = deque(maxlen=self._preroll + 2 * self._barge_in_frames)  # there is room for dips
        self._silence: list[bytes] = []  # after a pause
        self._rest = b""  # less than a frame
        self._frames = 0  # so far
        self._onset = _Onset()
        self._run = 0  # frames of silence in a row, of a question
        self._maybe = False  # speech may have begun
        self.speaking = False

    async def feed(
        self, audio: bytes, answering: bool = False, end_seconds: Callable[[], float] | None = None
    ) -> Iterator[Segment]:
        """`audio`: 16 kHz, 16-bit, any length. `answering`: an answer is being given, so interrupting takes longer.

        `end_seconds`: the silence that ends the question, asked at each frame; None: as the settings say. Frames are
        looked at as the segments are taken, all of them before the next call.
        """
        self._rest += audio
        whole = len(self._rest) // FRAME_BYTES * FRAME_BYTES
        frames, self._rest = self._rest[:whole], self._rest[whole:]
        probabilities = await self._microphone.probabilities(frames) if frames else []
        return self._segments(frames, probabilities, answering, end_seconds)

    def _segments(
        self, frames: bytes, probabilities: list[float], answering: bool, end_seconds: Callable[[], float] | None
    ) -> Iterator[Segment]:
        for number, probability in enumerate(probabilities):
            frame = frames[number * FRAME_BYTES : (number + 1) * FRAME_BYTES]
            self._frames += 1
            if self.speaking:
                yield from self._speech(frame, probability, end_seconds)
            else:
                yield from self._quiet(frame, probability, answering)

    def _quiet(self, frame: bytes, probability: float, answering: bool) -> list[Segment]:
        """A frame while nobody speaks."""
        self._held.append(frame)
        onset = self._onset
        onset.add(probability >= self._start)
        begun = onset.spoken >= self._barge_in_frames if answering else onset.run >= self._start_frames
        if begun:
            keep = min(len(self._held), self._preroll + onset.length)
            audio = b"".join(list(self._held)[-keep:])
            self._held.clear()
            self.speaking, self._maybe, self._onset = True, False, _Onset()
            return [Segment("start", audio, self._at_ms(keep))]
        if answering and not self._maybe and onset.run >= self._maybe_frames:
            self._maybe = True
            return [Segment("maybe", at_ms=self._at_ms(onset.run))]
        if self._maybe and not onset.spoken:
            self._maybe = False
            return [Segment("no")]
        return []

    def _speech(self, frame: bytes, probability: float, end_seconds: Callable[[], float] | None) -> list[Segment]:
        """A frame of a question."""
        if probability >= self._end:
            audio, self._run = b"".join(self._silence) + frame, 0
            self._silence.clear()
            return [Segment("more", audio)]
        self._run += 1
        silent = self._run * FRAME_SECONDS
        if self._run == self._pause_frames:
            return [Segment("pause", frame, self._at_ms(), silent)]
        if self._run < self._pause_frames:
            return [Segment("more", frame)]
        self._silence.append(frame)
        if self._run < _frame_count(end_seconds() if end_seconds is not None else self._end_seconds):
            return []
        self._stop()
        return [Segment("end", b"", self._at_ms(), silent)]

    def _at_ms(self, frames: int = 0) -> int:
        """Where the last `frames` begin; none: where they end."""
        return round(1000 * (self._frames - frames) * FRAME_SECONDS)

    def finish(self) -> bytes:
        """The client says that the question is over: the samples still held, and silence from here on."""
        rest, self._rest = self._rest, b""
        self._stop()
        return rest

    def close(self) -> None:
        self._microphone.close()

    def _stop(self) -> None:
        self.speaking, self._maybe, self._run, self._onset = False, False, 0, _Onset()
        self._microphone.reset()
        self._held.clear()
        self._silence.clear()


def _frame_count(seconds: float) -> int:
    return max(1, round(seconds / FRAME_SECONDS))
