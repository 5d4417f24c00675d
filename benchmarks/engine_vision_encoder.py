"""The vision encoder's engine: each of `batch` clients sends decoded pictures of one tile, one after the other."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import torch

from benchmarks.engines import Result
from benchmarks.rounds import result, run_together
from parley.checkpoints import load_model
from services.vision_encoder.backends.local import LocalBackend
from services.vision_encoder.engine import Engine
from services.vision_encoder.settings import VisionEncoderSettings

PICTURES = 8  # sent by each client


def measure(checkpoint: Path, sizes: list[int]) -> list[Result]:
    torch.set_num_threads(1)
    model = load_model(checkpoint, ["vision_encoder", "vision_adapter"])
    side = model.config.vision.image_size
    backend = LocalBackend(model.vision_encoder, model.vision_adapter)
    engine = Engine(backend, VisionEncoderSettings(max_batch=max(sizes)))
    engine.start()
    latencies: list[float] = []

    async def send_pictures() -> None:
        for _ in range(PICTURES):
            started = time.perf_counter()
            await engine.encode(torch.zeros(1, 3, side, side))
            latencies.append(time.perf_counter() - started)

    results = []
    for size in sizes:
        latencies.clear()
        seconds, _ = asyncio.run(run_together(send_pictures, size))
        timed = latencies[size * PICTURES :]  # without the round that warms up
        results.append(result("vision encoder", size, size * PICTURES / seconds, "pictures/s", timed, "a picture"))
    engine.stop()
    return results
