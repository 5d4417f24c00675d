"""The vision encoder's engine: one thread that encodes the tiles of all waiting requests in one batch.

Notable points:
- A tile is a tile, whoever sent it: a step takes the oldest `max_batch` tiles, and a large request may span steps.
- A step waits for company at most `max_wait_ms` from its oldest tile's arrival, and not at all when the batch is full.
- A request that was given up (deadline, client gone) is dropped before its next step.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass, field

import grpc
import torch
from torch import Tensor

from parley.vision import VisionAdapter, VisionEncoder
from services.common import logs, metrics
from services.common.errors import ServiceError
from services.vision_encoder.settings import VisionSettings

SERVICE = "vision_encoder"
MAX_FAILURES = 3  # failed steps in a row after which the engine counts as dead

log = logs.get_logger(__name__)


@dataclass
class Job:
    """One request's tiles on their way through the engine."""

    pixels: Tensor  # [tiles, 3, side, side]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future  # of (vectors [tiles, tokens, width] on the CPU, compute seconds)
    arrived: float = field(default_factory=time.monotonic)
    taken: int = 0  # tiles given to a step
    vectors: list[Tensor] = field(default_factory=list)
    compute_seconds: float = 0.0

    @property
    def left(self) -> int:
        return len(self.pixels) - self.taken

    def settle(self, result: object) -> None:
        """Called by the engine's thread; an exception fails the request."""

        def set_future() -> None:
            if self.future.done():
                return
            if isinstance(result, Exception):
                self.future.set_exception(result)
            else:
                self.future.set_result(result)

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(set_future)


class Engine:
    """Parts in inference mode, on one device."""

    def __init__(self, encoder: VisionEncoder, adapter: VisionAdapter, settings: VisionSettings):
        self.encoder, self.adapter, self.settings = encoder, adapter, settings
        weight = next(encoder.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self._jobs: deque[Job] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="vision-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and self._failures < MAX_FAILURES

    def stop(self) -> None:
        """Encodes what waits, then ends the thread. Blocks; not for the event loop."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    async def encode(self, pixels: Tensor) -> tuple[Tensor, float]:
        """Tiles [n, 3, side, side] → (vectors [n, tokens, width] on the CPU, seconds of computing they cost)."""
        loop = asyncio.get_running_loop()
        job = Job(pixels, loop, loop.create_future())
        with self._wake:
            if self._stopping:
                raise ServiceError(grpc.StatusCode.UNAVAILABLE, "the vision encoder is stopping", retry_after=1.0)
            self._jobs.append(job)
            self._wake.notify()
        return await job.future

    @torch.inference_mode()
    def run(self, pixels: Tensor) -> Tensor:
        """A step's computing: tiles [n, 3, side, side] → vectors [n, tokens, width]."""
        return self.adapter(self.encoder(pixels.to(self.device, self.dtype))).cpu()

    # The thread

    def _run(self) -> None:
        while self._wait():
            batch = self._gather()
            if batch:
                self._step(batch)

    def _wait(self) -> bool:
        """Returns when a step is due; False when the engine is to end."""
        with self._wake:
            while True:
                while self._jobs and self._jobs[0].future.done():
                    self._jobs.popleft()
                tiles = sum(job.left for job in self._jobs)
                metrics.QUEUE.labels(SERVICE).set(tiles)
                if tiles == 0:
                    if self._stopping:
                        return False
                    self._wake.wait()
                    continue
                patience = self._jobs[0].arrived + self.settings.max_wait_ms / 1000 - time.monotonic()
                if tiles >= self.settings.max_batch or patience <= 0 or self._stopping:
                    return True
                self._wake.wait(patience)

    def _gather(self) -> list[tuple[Job, Tensor]]:
        """The oldest tiles, as many as a step takes."""
        batch, room = [], self.settings.max_batch
        with self._wake:
            while self._jobs and room:
                job = self._jobs[0]
                if not job.future.done():
                    tiles = job.pixels[job.taken : job.taken + room]
                    job.taken += len(tiles)
                    room -= len(tiles)
                    batch.append((job, tiles))
                if job.left == 0 or job.future.done():
                    self._jobs.popleft()
        return batch

    def _step(self, batch: list[tuple[Job, Tensor]]) -> None:
        started = time.perf_counter()
        try:
            vectors = self.run(torch.cat([tiles for _, tiles in batch]))
        except Exception as error:
            self._failures += 1
            log.error("a step failed", requests=len(batch), failures=self._failures, exc_info=error)
            for job, _ in batch:
                job.settle(error)
            # A request that spans steps is over with its first failed one.
            with self._wake:
                self._jobs = deque(job for job in self._jobs if all(job is not failed for failed, _ in batch))
            return
        self._failures = 0
        seconds = time.perf_counter() - started
        metrics.BATCH_SIZE.labels(SERVICE).observe(len(vectors))
        metrics.STEP_SECONDS.labels(SERVICE).observe(seconds)
        metrics.PICTURES.labels(SERVICE).inc(len(vectors))
        at = 0
        for job, tiles in batch:
            job.vectors.append(vectors[at : at + len(tiles)])
            job.compute_seconds += seconds * len(tiles) / len(vectors)
            at += len(tiles)
            if job.left == 0:
                job.settle((torch.cat(job.vectors), job.compute_seconds))
