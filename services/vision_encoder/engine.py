"""The vision encoder's engine: encodes the tiles of all waiting requests in one batch.

Notable points:
- A tile is a tile, whoever sent it: a step takes the oldest `max_batch` tiles, and a large request may span steps.
- A step waits for company at most `max_wait_ms` from its oldest tile's arrival, and not at all when the batch is full.
- A request that was given up (deadline, client gone) is dropped before its next step.
"""

from __future__ import annotations

import time
from collections import deque

import torch
from torch import Tensor

from parley.models.vision import VisionAdapter, VisionEncoder
from services.engine.thread import EngineThread, Request
from services.telemetry import metrics
from services.vision_encoder.settings import VisionEncoderSettings

SERVICE = "vision_encoder"


class Job(Request[tuple[Tensor, float]]):
    """One request's tiles on their way through the engine. Its event: (vectors on the CPU, compute seconds)."""

    def __init__(self, engine: Engine, pixels: Tensor):
        """pixels: [tiles, 3, side, side]"""
        super().__init__(engine)
        # of the engine's thread:
        self.pixels = pixels
        self.due = time.monotonic() + engine.settings.max_wait_ms / 1000  # the latest that a step waits for company
        self.taken = 0  # tiles given to a step
        self.vectors: list[Tensor] = []
        self.compute_seconds = 0.0

    @property
    def left(self) -> int:
        return len(self.pixels) - self.taken


class Engine(EngineThread):
    """Parts in inference mode, on one device."""

    service = SERVICE
    settings: VisionEncoderSettings

    def __init__(self, encoder: VisionEncoder, adapter: VisionAdapter, settings: VisionEncoderSettings):
        super().__init__(settings)
        self.encoder, self.adapter = encoder, adapter
        weight = next(encoder.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self._jobs: deque[Job] = deque()  # with tiles left, oldest first; this and what follows is the thread's
        self._batch: list[Job] = []  # in the step that runs

    async def encode(self, pixels: Tensor) -> tuple[Tensor, float]:
        """Tiles [n, 3, side, side] → (vectors [n, tokens, width] on the CPU, seconds of computing they cost)."""
        job = Job(self, pixels)
        self.admit(job, self.settings.max_queued, "pictures")
        job.post("encode")
        try:
            return await job.next()
        finally:
            job.close()

    @torch.inference_mode()
    def run(self, pixels: Tensor) -> Tensor:
        """A step's computing: tiles [n, 3, side, side] → vectors [n, tokens, width]."""
        return self.adapter(self.encoder(pixels.to(self.device, self.dtype))).cpu()

    # The thread

    def apply(self, kind: str, job: Job, content: object) -> None:
        self._jobs.append(job)

    def free(self, job: Job) -> None:
        if job in self._jobs:
            self._jobs.remove(job)

    def next_deadline(self) -> float | None:
        return max(self._jobs[0].due - time.monotonic(), 0.0) if self._jobs else None

    def step(self) -> bool:
        waiting = sum(job.left for job in self._jobs)
        metrics.QUEUE.labels(SERVICE).set(waiting)
        if not waiting or (waiting < self.settings.max_batch and self.next_deadline() > 0 and self.accepting):
            return False
        tiles = self._gather()
        started = time.perf_counter()
        vectors = self.run(torch.cat(tiles))
        seconds = time.perf_counter() - started
        metrics.BATCH_SIZE.labels(SERVICE).observe(len(vectors))
        metrics.STEP_SECONDS.labels(SERVICE).observe(seconds)
        metrics.PICTURES.labels(SERVICE).inc(len(vectors))
        for job, part in zip(self._batch, vectors.split([len(part) for part in tiles]), strict=True):
            job.vectors.append(part)
            job.compute_seconds += seconds * len(part) / len(vectors)
            if job.left == 0:
                self.emit_last(job, (torch.cat(job.vectors), job.compute_seconds))
        return True

    def _gather(self) -> list[Tensor]:
        """The oldest tiles, as many as a step takes; `_batch` is whose they are."""
        self._batch, tiles, room = [], [], self.settings.max_batch
        while self._jobs and room:
            job = self._jobs[0]
            part = job.pixels[job.taken : job.taken + room]
            job.taken += len(part)
            room -= len(part)
            self._batch.append(job)
            tiles.append(part)
            if job.left == 0:
                self._jobs.popleft()
        return tiles

    def abandon_step(self) -> list[Job]:
        """A request that spans steps is over with its first failed one."""
        for job in self._batch:
            self.free(job)
        return self._batch
