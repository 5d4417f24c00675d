"""The speech encoder's engine: runs the next chunk of every live utterance in one batch.

Notable points:
- A step does not wait to fill its batch: it takes every utterance that has a chunk, so batches grow with the load.
- The filter bank has a thread of its own: neither the event loop nor a step waits for it. What is said of an utterance
  goes through that thread, so it stays in order; only `close` goes past it.
- Queues are bounded: the audio of an utterance by `max_seconds`, utterances by `max_utterances`.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from parley.config import SpeechConfig
from parley.models.filter_bank import MelFrames
from parley.models.speech_streaming import SpeechStream, StreamOutput
from services.engine.load import Load
from services.engine.thread import EngineThread, Request
from services.speech_encoder.backends import Backend
from services.speech_encoder.settings import SpeechEncoderSettings
from services.telemetry import metrics

SERVICE = "speech_encoder"
WARM_UP_FEATURES = 100  # mel frames: a second


@dataclass(frozen=True)
class Encoded:
    """What a step made of an utterance."""

    output: StreamOutput  # embeddings on the CPU
    compute_seconds: float  # of the utterance so far: its filter bank, and its share of the steps that it was in
    pause: int  # with `output.tail`: the number of the pause that it answers


class Utterance(Request[Encoded]):
    """One live utterance, as its caller sees it."""

    def __init__(self, engine: Engine):
        super().__init__(engine)
        self._config, self._filter_bank = engine.stream.config, engine.filter_bank
        # Used by the engine's thread:
        self.slot = -1  # in the stream; -1: none
        self.compute_seconds = 0.0
        self.paused = 0  # the number of its newest pause

    def feed(self, samples: np.ndarray) -> None:
        """float32 [samples] in [-1, 1]."""
        self._pass_on("feed", samples)

    def pause(self, number: int) -> None:
        """The speech may be over: an event with `output.tail` and this number tells what the end would give now.

        It takes the place of a pause that has not been answered.
        """
        self._pass_on("pause", number)

    def finish(self) -> None:
        """The utterance is complete; its last event has `output.done`."""
        self._pass_on("finish")

    def _pass_on(self, kind: str, content: object = None) -> None:
        """As `post`, through the filter bank's thread."""
        self.posted += 1
        self._filter_bank.submit(self._filter, kind, content)

    # Called in the filter bank's thread.

    @cached_property
    def _mel(self) -> MelFrames:
        return MelFrames(self._config)

    def _filter(self, kind: str, content: object) -> None:
        """Makes mel frames of samples. An error is raised in the engine's thread, where it fails the utterance."""
        try:
            if kind == "feed":
                started = time.perf_counter()
                content = self._mel.feed(content), time.perf_counter() - started
        except Exception as error:
            kind, content = "fail", error
        self._engine.post(kind, self, content)


class Engine(EngineThread):
    """`backend`: computes the steps of a model with this config."""

    service = SERVICE
    settings: SpeechEncoderSettings

    def __init__(self, backend: Backend, config: SpeechConfig, settings: SpeechEncoderSettings):
        super().__init__(settings)
        self.backend = backend
        self.stream = SpeechStream(backend, config, capacity=settings.max_utterances, max_seconds=settings.max_seconds)
        self.filter_bank = ThreadPoolExecutor(1, thread_name_prefix=f"{SERVICE}-filter-bank")
        metrics.SLOTS.labels(SERVICE).set(settings.max_utterances)
        self._slots: dict[int, Utterance] = {}  # by slot of the stream; used by the thread, like _batch
        self._batch: list[Utterance] = []  # in the current step

    def open(self) -> Utterance:
        """A new utterance. Raises RESOURCE_EXHAUSTED when `max_utterances` are live, UNAVAILABLE once the engine stops.

        On the event loop.
        """
        utterance = Utterance(self)
        self.admit(utterance, self.settings.max_utterances, "utterances")
        utterance.post("open")
        return utterance

    def current_load(self) -> Load:
        return Load(
            self.settings.max_utterances, len(self._slots), 0, self.factors.p95()
        )  # what does not fit is refused

    def reachable(self) -> bool:
        return self.backend.alive

    def shut_down(self) -> None:
        self.filter_bank.shutdown(cancel_futures=True)
        self.backend.shut_down()

    # Called in the thread.

    def apply(self, kind: str, utterance: Utterance, content: object) -> None:
        if kind == "open":
            utterance.slot = self.stream.open()
            utterance.steps.begin("encode")
            self._slots[utterance.slot] = utterance
            self._report()
        elif utterance.slot < 0:
            return
        elif kind == "finish":
            utterance.steps.begin("encode_last")
            self.stream.finish(utterance.slot)
        elif kind == "pause":
            utterance.paused = content
            self.stream.pause(utterance.slot)
        elif kind == "fail":
            raise content
        else:
            features, seconds = content
            self.stream.feed(utterance.slot, features)
            utterance.compute_seconds += seconds

    def free(self, utterance: Utterance) -> None:
        if utterance.slot >= 0:
            utterance.steps.end()
            self.stream.close(utterance.slot)
            del self._slots[utterance.slot]
            utterance.slot = -1
            self._report()

    def _report(self) -> None:
        metrics.SLOTS_USED.labels(SERVICE).set(len(self._slots))
        metrics.CACHE_BYTES.labels(SERVICE).set(len(self._slots) * self.backend.slot_bytes)

    def step(self) -> bool:
        self._batch = []
        ready = self.stream.ready()
        metrics.QUEUE.labels(SERVICE).set(len(ready))
        if not ready:
            return False
        self._batch = [self._slots[slot] for slot in ready[: self.settings.max_batch]]
        started = time.perf_counter()
        outputs = self.stream.step(self.settings.max_batch)
        outputs = {slot: output._replace(embeddings=output.embeddings.cpu()) for slot, output in outputs.items()}
        seconds = time.perf_counter() - started
        metrics.BATCH_SIZE.labels(SERVICE).observe(len(outputs))
        metrics.STEP_SECONDS.labels(SERVICE).observe(seconds)
        if self.stream.chunk_seconds:  # speech goes on, and the next chunks come after that time
            self.factors.observe(seconds * len(ready) / len(self._batch) / self.stream.chunk_seconds)
        for slot, output in outputs.items():
            utterance = self._slots[slot]
            utterance.compute_seconds += seconds / len(outputs)
            if output.done:
                self.free(utterance)
            self.emit(utterance, Encoded(output, utterance.compute_seconds, utterance.paused))
        return True

    def abandon_step(self) -> list[Utterance]:
        for utterance in self._batch:
            self.free(utterance)
        return self._batch


def warm_up(engine: Engine) -> None:
    """Runs an utterance through each shape of a step, before the engine's thread exists."""
    stream = engine.stream
    slots = [stream.open() for _ in range(min(2, engine.settings.max_utterances))]
    with torch.inference_mode():
        for slot in slots:
            stream.feed(slot, torch.zeros(min(stream.max_features, WARM_UP_FEATURES), stream.config.num_mel_bins))
            stream.finish(slot)
        while stream.ready():
            stream.step()
    for slot in slots:
        stream.close(slot)
