"""The speech encoder's engine: one thread that runs the next chunk of every live utterance in one batch.

Notable points:
- The event loop talks to the thread through one list of commands and hears back through `call_soon_threadsafe`; torch
  never runs on the event loop.
- No waiting to fill a batch: a step takes every utterance that has a chunk, so batches grow exactly as load does.
- What can pile up is bounded: audio by `max_seconds` an utterance, utterances by `max_sessions`.
- An error in a step ends the utterances of that step; the others go on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass

import grpc
import numpy as np
import torch

from parley.speech import CtcHead, SpeechAdapter, SpeechEncoder
from parley.speech_stream import SpeechStream, StreamOutput
from services.common import logs, metrics
from services.common.errors import ServiceError
from services.speech_encoder.settings import SpeechSettings

SERVICE = "speech_encoder"
MAX_FAILURES = 3  # failed steps in a row after which the engine counts as dead

log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Heard:
    """An output on its way to the event loop."""

    output: StreamOutput  # vectors on the CPU
    compute_seconds: float  # of the utterance so far, its share of the batches it was in


class Utterance:
    """One live utterance, as the event loop sees it."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop):
        self._engine, self._loop = engine, loop
        self._outputs: asyncio.Queue[Heard | Exception] = asyncio.Queue()
        self._closed = False
        self.row = -1  # in the stream; belongs to the engine's thread
        self.compute_seconds = 0.0  # as well

    def feed(self, samples: np.ndarray) -> None:
        """float32 [samples] in [-1, 1]."""
        self._engine.submit("feed", self, samples)

    def finish(self) -> None:
        """The utterance is over; the last output has `done`."""
        self._engine.submit("finish", self)

    def fail(self, error: Exception) -> None:
        """Has `next` raise. On the event loop."""
        self._outputs.put_nowait(error)

    async def next(self) -> Heard:
        """The next output. Raises what went wrong with the utterance."""
        heard = await self._outputs.get()
        if isinstance(heard, Exception):
            raise heard
        return heard

    def close(self) -> None:
        """Gives the row back, whatever state it is in."""
        if not self._closed:
            self._closed = True
            self._engine.live.discard(self)
            self._engine.submit("close", self)

    def deliver(self, heard: Heard | Exception) -> None:
        """Called by the engine's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._outputs.put_nowait, heard)


class Engine:
    """Parts in inference mode; `head` may be None."""

    def __init__(self, encoder: SpeechEncoder, adapter: SpeechAdapter, head: CtcHead | None, settings: SpeechSettings):
        self.settings = settings
        self.stream = SpeechStream(
            encoder,
            adapter,
            head,
            capacity=settings.max_sessions,
            chunk_size=settings.chunk_size or None,
            left_chunks=None if settings.left_chunks == -2 else settings.left_chunks,
            max_seconds=settings.max_seconds,
        )
        self.live: set[Utterance] = set()  # belongs to the event loop
        self._rows: dict[int, Utterance] = {}  # belongs to the thread
        self._commands: deque[tuple] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="speech-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and self._failures < MAX_FAILURES

    def stop(self) -> None:
        """Lets live utterances end for `stop_seconds`, then ends the thread. Blocks; not for the event loop."""
        until = time.monotonic() + self.settings.stop_seconds
        while self.live and time.monotonic() < until:
            time.sleep(0.02)
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def open(self) -> Utterance:
        """A new utterance. Raises RESOURCE_EXHAUSTED when `max_sessions` are live, UNAVAILABLE once the engine stops.

        On the event loop.
        """
        if self._stopping:
            raise _stopping()
        if len(self.live) >= self.settings.max_sessions:
            metrics.REFUSED.labels(SERVICE, "max_sessions").inc()
            raise ServiceError.at_capacity("utterances", self.settings.max_sessions)
        utterance = Utterance(self, asyncio.get_running_loop())
        self.live.add(utterance)
        self.submit("open", utterance)
        return utterance

    def submit(self, *command: object) -> None:
        with self._wake:
            self._commands.append(command)
            self._wake.notify()

    # The thread

    def _run(self) -> None:
        while True:
            ready = self.stream.ready()
            metrics.QUEUE.labels(SERVICE).set(len(ready))
            with self._wake:
                while not (self._commands or ready or self._stopping):
                    self._wake.wait()
                if self._stopping:
                    break
                commands = list(self._commands)
                self._commands.clear()
            for command in commands:
                self._apply(*command)
            if commands:
                metrics.SESSIONS.labels(SERVICE).set(len(self._rows))
                metrics.CACHE_BYTES.labels(SERVICE).set(len(self._rows) * self.stream.row_bytes)
            self._step()
        for utterance in list(self.live):
            utterance.deliver(_stopping())

    def _apply(self, kind: str, utterance: Utterance, samples: np.ndarray | None = None) -> None:
        """Runs a command. Commands of an utterance that failed or was closed come to nothing."""
        if kind == "open":
            utterance.row = self.stream.open()
            self._rows[utterance.row] = utterance
        elif utterance.row < 0:
            return
        elif kind == "close":
            self._free(utterance)
        elif kind == "finish":
            self.stream.finish(utterance.row)
        else:
            started = time.perf_counter()
            try:
                self.stream.feed(utterance.row, samples)
            except Exception as error:
                self._free(utterance)
                utterance.deliver(error)
            utterance.compute_seconds += time.perf_counter() - started

    def _step(self) -> None:
        rows = self.stream.ready()[: self.settings.max_batch]
        if not rows:
            return
        started = time.perf_counter()
        try:
            outputs = self.stream.step(self.settings.max_batch)
            outputs = {row: o._replace(vectors=o.vectors.cpu()) for row, o in outputs.items()}
        except Exception as error:
            self._failures += 1
            log.error("a step failed", rows=len(rows), failures=self._failures, exc_info=error)
            for utterance in [self._rows[row] for row in rows]:
                self._free(utterance)
                utterance.deliver(error)
            return
        self._failures = 0
        seconds = time.perf_counter() - started
        metrics.BATCH_SIZE.labels(SERVICE).observe(len(outputs))
        metrics.STEP_SECONDS.labels(SERVICE).observe(seconds)
        for row, output in outputs.items():
            utterance = self._rows[row]
            utterance.compute_seconds += seconds / len(outputs)
            if output.done:
                self._free(utterance)
            utterance.deliver(Heard(output, utterance.compute_seconds))

    def _free(self, utterance: Utterance) -> None:
        self.stream.close(utterance.row)
        del self._rows[utterance.row]
        utterance.row = -1


def _stopping() -> ServiceError:
    message = "the speech encoder is stopping; try again"
    return ServiceError(grpc.StatusCode.UNAVAILABLE, message, retry_after=1.0)


def warm_up(engine: Engine) -> None:
    """Runs an utterance through each shape of a step, before the engine's thread exists."""
    stream = engine.stream
    rows = [stream.open() for _ in range(min(2, engine.settings.max_sessions))]
    with torch.inference_mode():
        for row in rows:
            stream.feed(row, np.zeros(min(stream.max_samples, stream.config.sample_rate), np.float32))
            stream.finish(row)
        while stream.ready():
            stream.step()
    for row in rows:
        stream.close(row)
