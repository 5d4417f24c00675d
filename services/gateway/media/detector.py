"""How likely each frame of a microphone is speech: one network for all microphones of a process, off the event loop.

Notable points:
- Frames that wait are computed together, one of each microphone at a time. Calls take at most a tenth of the time, or
  begin every `PERIOD`: with one microphone nothing waits, with hundreds the calls are large.
- What is silent for longer than `OPEN_FRAMES` is not computed. The network's state then stays as it is; when it becomes
  louder, the frames just before go first, so that speech is noticed as soon as without this.
- A microphone waits for its answer before it asks again, so no more waits than one chunk for each of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from services.gateway.media.resampler import SILENCE
from services.gateway.media.silero import CONTEXT_BYTES, FRAME_BYTES, SAMPLE_RATE, START, Silero
from services.telemetry.metrics import VOICE_ACTIVITY_SECONDS

FRAME_SECONDS = FRAME_BYTES / 2 / SAMPLE_RATE
PERIOD = 0.01  # seconds between the beginnings of two calls, at most
MAX_SHARE = 0.1  # of the time that calls take, while they begin more often
MAX_FRAMES = 512  # in a call, which takes about 10 ms
SILENCE_DB = -60.0  # of full scale: a frame with less energy is silent
OPEN_FRAMES = 16  # silent ones in a row that are computed all the same: half a second
REPLAYED_FRAMES = 3  # silent ones that go first when it becomes louder

_SILENT = FRAME_BYTES / 2 * (32768 * 10 ** (SILENCE_DB / 20)) ** 2  # sum of squares


@dataclass
class _Stream:
    """A microphone between two resets."""

    state: bytes = START  # the network's, written by its thread
    before: bytes = bytes(CONTEXT_BYTES + REPLAYED_FRAMES * FRAME_BYTES)  # the last audio
    silent: int = 0  # frames in a row
    skipped: int = 0  # frames in a row that were not computed


@dataclass
class _Work:
    """What the network is asked; `windows`: frames in order, each with what is before it."""

    stream: _Stream
    windows: list[bytes]
    found: asyncio.Future[list[float]]
    came: float  # on the loop's clock


class Detector:
    """Of all the microphones of a process. It belongs to the event loop that uses it; `stop` at the end."""

    def __init__(self) -> None:
        self._network = Silero()
        self._thread = ThreadPoolExecutor(1, "detector")  # starts with the first frame
        self._waiting: deque[_Work] = deque()
        self._busy = False  # a call runs, or has been scheduled
        self._next = 0.0  # call, at the earliest; on the loop's clock
        self._stopped = False

    def open(self) -> Microphone:
        return Microphone(self)

    async def compute(self, stream: _Stream, windows: list[bytes]) -> list[float]:
        """Probabilities of speech in the windows."""
        assert not self._stopped
        loop = asyncio.get_running_loop()
        work = _Work(stream, windows, loop.create_future(), loop.time())
        self._waiting.append(work)
        self._schedule(loop)
        return await work.found

    def stop(self) -> None:
        """Nothing is asked any more; what waits is given up."""
        self._stopped = True
        self._thread.shutdown()
        while self._waiting:
            self._waiting.popleft().found.cancel()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            loop.call_at(self._next, self._call, loop)

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        if not (batch := self._take()):
            self._busy = False
            return
        began = loop.time()
        call = loop.run_in_executor(self._thread, self._run, batch)
        call.add_done_callback(lambda done: self._deliver(loop, batch, began, done))

    def _take(self) -> list[_Work]:
        """The oldest, up to about `MAX_FRAMES`; those whose caller is gone are dropped."""
        batch, frames = [], 0
        while self._waiting and frames < MAX_FRAMES:
            work = self._waiting.popleft()
            if not work.found.done():
                batch.append(work)
                frames += len(work.windows)
        return batch

    def _run(self, batch: list[_Work]) -> list[list[float]]:
        """In the thread: the first frame of each, then the second of those that have more, and so on."""
        found: list[list[float]] = [[] for _ in batch]
        for step in range(max(len(work.windows) for work in batch)):
            rows = [row for row, work in enumerate(batch) if step < len(work.windows)]
            windows, states = [batch[row].windows[step] for row in rows], [batch[row].stream.state for row in rows]
            for row, probability, state in zip(rows, *self._network(windows, states), strict=True):
                found[row].append(probability)
                batch[row].stream.state = state
        return found

    def _deliver(self, loop: asyncio.AbstractEventLoop, batch: list[_Work], began: float, done: asyncio.Future) -> None:
        now = loop.time()
        self._next = began + min(PERIOD, (now - began) / MAX_SHARE)
        self._busy = False
        self._schedule(loop)
        VOICE_ACTIVITY_SECONDS.observe(now - batch[0].came)
        error = done.exception()
        for row, work in enumerate(batch):
            if work.found.done():  # its caller is gone
                continue
            if error is None:
                work.found.set_result(done.result()[row])
            else:
                work.found.set_exception(error)


class Microphone:
    """One microphone's frames, in order."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._stream = _Stream()
        self._asking = False

    async def probabilities(self, frames: bytes) -> list[float]:
        """Of speech, in each frame. `frames`: whole ones, 16 kHz, 16-bit; they follow those of the last call.

        The next call comes after the answer.
        """
        assert not self._asking
        windows, wanted = self._windows(frames)
        found = [0.0] * (len(frames) // FRAME_BYTES)
        if windows:
            self._asking = True
            try:
                computed = await self._detector.compute(self._stream, windows)
            finally:
                self._asking = False
            for frame, probability in zip(wanted, computed, strict=True):
                if frame is not None:
                    found[frame] = probability
        return found

    def reset(self) -> None:
        """What comes next does not follow what came before."""
        self._stream = _Stream()

    def close(self) -> None:
        """Nothing more comes."""

    def _windows(self, frames: bytes) -> tuple[list[bytes], list[int | None]]:
        """What the network is to be asked, and of which frame each answer is; None: of one that was silent."""
        stream = self._stream
        audio, windows, wanted = stream.before + frames, [], []
        stream.before = audio[len(frames) :]
        for number, loud in enumerate(_are_loud(frames)):
            stream.silent = 0 if loud else stream.silent + 1
            if stream.silent > OPEN_FRAMES:
                stream.skipped += 1
                continue
            replayed = min(stream.skipped, REPLAYED_FRAMES)
            for frame in range(number - replayed, number + 1):
                at = (REPLAYED_FRAMES + frame) * FRAME_BYTES
                windows.append(audio[at : at + CONTEXT_BYTES + FRAME_BYTES])
                wanted.append(number if frame == number else None)
            stream.skipped = 0
        return windows, wanted


def _are_loud(frames: bytes) -> list[bool]:
    if SILENCE.startswith(frames):
        return [False] * (len(frames) // FRAME_BYTES)
    samples = np.frombuffer(frames, "<i2").astype(np.float32).reshape(-1, FRAME_BYTES // 2)
    return [frame.dot(frame) >= _SILENT for frame in samples]
