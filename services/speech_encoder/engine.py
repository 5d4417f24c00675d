"""The speech encoder's engine: runs the next chunk of every live utterance in one batch.

Notable points:
- No waiting to fill a batch: a step takes every utterance that has a chunk, so batches grow exactly as load does.
- What can pile up is bounded: audio by `max_seconds` an utterance, utterances by `max_sessions`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from parley.models.speech import CtcHead, SpeechAdapter, SpeechEncoder
from parley.models.speech_streaming import SpeechStream, StreamOutput
from services.engine.thread import EngineThread, Request
from services.speech_encoder.settings import SpeechEncoderSettings
from services.telemetry import metrics

SERVICE = "speech_encoder"


@dataclass(frozen=True)
class Heard:
    """An output on its way to the event loop."""

    output: StreamOutput  # vectors on the CPU
    compute_seconds: float  # of the utterance so far, its share of the batches it was in


class Utterance(Request[Heard]):
    """One live utterance, as the event loop sees it."""

    def __init__(self, engine: Engine):
        super().__init__(engine)
        # of the engine's thread:
        self.row = -1  # in the stream
        self.compute_seconds = 0.0

    def feed(self, samples: np.ndarray) -> None:
        """float32 [samples] in [-1, 1]."""
        self.post("feed", samples)

    def finish(self) -> None:
        """The utterance is over; the last output has `done`."""
        self.post("finish")


class Engine(EngineThread):
    """Parts in inference mode; `head` may be None."""

    service = SERVICE
    settings: SpeechEncoderSettings

    def __init__(
        self, encoder: SpeechEncoder, adapter: SpeechAdapter, head: CtcHead | None, settings: SpeechEncoderSettings
    ):
        super().__init__(settings)
        self.stream = SpeechStream(
            encoder,
            adapter,
            head,
            capacity=settings.max_sessions,
            chunk_size=settings.chunk_size or None,
            left_chunks=None if settings.left_chunks == -2 else settings.left_chunks,
            max_seconds=settings.max_seconds,
        )
        self._rows: dict[int, Utterance] = {}  # this and what follows is the thread's
        self._batch: list[Utterance] = []  # in the step that runs

    def open(self) -> Utterance:
        """A new utterance. Raises RESOURCE_EXHAUSTED when `max_sessions` are live, UNAVAILABLE once the engine stops.

        On the event loop.
        """
        utterance = Utterance(self)
        self.admit(utterance, self.settings.max_sessions, "utterances")
        utterance.post("open")
        return utterance

    # The thread

    def apply(self, kind: str, utterance: Utterance, samples: np.ndarray | None) -> None:
        if kind == "open":
            utterance.row = self.stream.open()
            self._rows[utterance.row] = utterance
            self._count()
        elif utterance.row < 0:
            return
        elif kind == "finish":
            self.stream.finish(utterance.row)
        else:
            started = time.perf_counter()
            self.stream.feed(utterance.row, samples)
            utterance.compute_seconds += time.perf_counter() - started

    def free(self, utterance: Utterance) -> None:
        if utterance.row >= 0:
            self.stream.close(utterance.row)
            del self._rows[utterance.row]
            utterance.row = -1
            self._count()

    def _count(self) -> None:
        metrics.SESSIONS.labels(SERVICE).set(len(self._rows))
        metrics.CACHE_BYTES.labels(SERVICE).set(len(self._rows) * self.stream.row_bytes)

    def step(self) -> bool:
        ready = self.stream.ready()
        metrics.QUEUE.labels(SERVICE).set(len(ready))
        if not ready:
            return False
        self._batch = [self._rows[row] for row in ready[: self.settings.max_batch]]
        started = time.perf_counter()
        outputs = self.stream.step(self.settings.max_batch)
        outputs = {row: output._replace(vectors=output.vectors.cpu()) for row, output in outputs.items()}
        seconds = time.perf_counter() - started
        metrics.BATCH_SIZE.labels(SERVICE).observe(len(outputs))
        metrics.STEP_SECONDS.labels(SERVICE).observe(seconds)
        for row, output in outputs.items():
            utterance = self._rows[row]
            utterance.compute_seconds += seconds / len(outputs)
            if output.done:
                self.free(utterance)
            self.emit(utterance, Heard(output, utterance.compute_seconds))
        return True

    def abandon_step(self) -> list[Utterance]:
        for utterance in self._batch:
            self.free(utterance)
        return self._batch


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
