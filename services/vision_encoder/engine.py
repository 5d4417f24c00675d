"""The vision encoder's engine: encodes the tiles of all waiting requests in one batch.

Notable points:
- A step takes the oldest `max_batch` tiles, whichever requests they belong to; a large request may span steps.
- A step waits for more tiles at most `max_wait_ms` after its oldest tile arrived, and not at all if the batch is full.
- A request that was closed (deadline, client gone) is dropped before the next step.
"""

from __future__ import annotations

import time
from collections import deque

import torch
from torch import Tensor

from services.engine.load import BusyTime, Load
from services.engine.thread import EngineThread, Request
from services.telemetry import metrics
from services.vision_encoder.backends import Backend
from services.vision_encoder.settings import VisionEncoderSettings

SERVICE = "vision_encoder"


class EncodeRequest(Request[tuple[Tensor, float]]):
    """The tiles of one request. Its only event: (embeddings on the CPU, compute seconds)."""

    def __init__(self, engine: Engine, pixels: Tensor):
        """pixels: [tiles, 3, side, side]"""
        super().__init__(engine)
        # Used by the engine's thread:
        self.pixels = pixels
        self.arrived = time.monotonic()
        self.steps.begin("queue")
        self.due = self.arrived + engine.settings.max_wait_ms / 1000  # when a step stops waiting for more tiles
        self.taken = 0  # tiles given to a step
        self.embeddings: list[Tensor] = []
        self.compute_seconds = 0.0

    @property
    def remaining(self) -> int:
        """Tiles not given to a step yet."""
        return len(self.pixels) - self.taken


class Engine(EngineThread):
    """`backend`: computes the steps."""

    service = SERVICE
    settings: VisionEncoderSettings

    def __init__(self, backend: Backend, settings: VisionEncoderSettings):
        super().__init__(settings)
        self.backend = backend
        metrics.SLOTS.labels(SERVICE).set(settings.max_queued)
        self._waiting: deque[EncodeRequest] = deque()  # with tiles left, oldest first; used by the thread, like _batch
        self._batch: list[EncodeRequest] = []  # in the current step
        self._busy = BusyTime()

    async def encode(self, pixels: Tensor) -> tuple[Tensor, float]:
        """Tiles [n, 3, side, side] → (embeddings [n, length, width] on the CPU, compute seconds)."""
        request = EncodeRequest(self, pixels)
        self.admit(request, self.settings.max_queued, "pictures")
        request.post("encode")
        try:
            return await request.next()
        finally:
            request.close()

    def reachable(self) -> bool:
        return self.backend.alive

    def shut_down(self) -> None:
        self.backend.shut_down()

    def current_load(self) -> Load:
        """In tiles. A picture is done at once, so what is in use is the share of the time in which a step runs."""
        tiles = sum(len(request.pixels) for request in list(self.live.values()))
        slots = self.settings.max_batch
        return Load(slots, slots * self._busy.share(), max(tiles - slots, 0))

    # Called in the thread.

    def apply(self, kind: str, request: EncodeRequest, content: object) -> None:
        self._waiting.append(request)

    def free(self, request: EncodeRequest) -> None:
        if request in self._waiting:
            self._waiting.remove(request)

    def next_deadline(self) -> float | None:
        return max(self._waiting[0].due - time.monotonic(), 0.0) if self._waiting else None

    def step(self) -> bool:
        self._batch = []
        waiting = sum(request.remaining for request in self._waiting)
        metrics.QUEUE.labels(SERVICE).set(waiting)
        if not waiting or (waiting < self.settings.max_batch and self.next_deadline() > 0 and self.accepting):
            return False
        tiles = self._gather()
        started = time.perf_counter()
        embeddings = self.backend.run(torch.cat(tiles))
        self._deliver(embeddings, [len(part) for part in tiles], time.perf_counter() - started)
        return True

    def _gather(self) -> list[Tensor]:
        """The oldest tiles, as many as a step takes; `_batch` holds the requests they belong to."""
        tiles, free = [], self.settings.max_batch
        while self._waiting and free:
            request = self._waiting[0]
            if not request.taken:
                request.steps.begin("encode")
                self.took(request, time.monotonic() - request.arrived)
            part = request.pixels[request.taken : request.taken + free]
            request.taken += len(part)
            free -= len(part)
            self._batch.append(request)
            tiles.append(part)
            if request.remaining == 0:
                self._waiting.popleft()
        return tiles

    def _deliver(self, embeddings: Tensor, sizes: list[int], seconds: float) -> None:
        """Gives each request of the step its share, `sizes` tiles each; complete requests are answered."""
        metrics.BATCH_SIZE.labels(SERVICE).observe(len(embeddings))
        metrics.STEP_SECONDS.labels(SERVICE).observe(seconds)
        self._busy.add(seconds)
        metrics.PICTURES.labels(SERVICE).inc(len(embeddings))
        for request, part in zip(self._batch, embeddings.split(sizes), strict=True):
            request.embeddings.append(part)
            request.compute_seconds += seconds * len(part) / len(embeddings)
            if request.remaining == 0:
                request.steps.end()
                self.emit_last(request, (torch.cat(request.embeddings), request.compute_seconds))

    def abandon_step(self) -> list[EncodeRequest]:
        """A request that spans steps fails with its first failed step."""
        for request in self._batch:
            self.free(request)
        return self._batch
