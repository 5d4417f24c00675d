"""The vision encoder's engine: each of `batch` clients sends decoded pictures of one tile, one after the other."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import torch

from benchmarks.engine_networks import measure_networks
from benchmarks.engines import Result
from benchmarks.rounds import result, run_together
from parley.checkpoints import load_model
from parley.export.graph import vision_graph
from services.engine.compiled import compiled
from services.vision_encoder.backends.local import LocalBackend
from services.vision_encoder.engine import Engine
from services.vision_encoder.settings import VisionEncoderSettings

PICTURES = 8  # sent by each client


def measure(checkpoint: Path, sizes: list[int]) -> list[Result]:
    torch.set_num_threads(1)
    model = load_model(checkpoint, ["vision_encoder", "vision_adapter"])
    side = model.config.vision.image_size
    graph, results = vision_graph(model), []
    for runtime in "auto", "torch":
        settings = VisionEncoderSettings(
            max_batch=max(sizes), stop_seconds=0, threads=1, device="cpu", dtype="float32", runtime=runtime
        )
        engine = Engine(LocalBackend(compiled(graph, settings) or graph.network, settings), settings)
        engine.start()
        results += [measure_batch(engine, size, side) for size in sizes]
        engine.stop()
    return [*results, *measure_networks([graph], sizes)]


def measure_batch(engine: Engine, size: int, side: int, tiles: int = 1) -> Result:
    """`size` clients at once. `tiles`: of a picture."""
    latencies: list[float] = []

    async def send_pictures() -> None:
        for _ in range(PICTURES):
            started = time.perf_counter()
            await engine.encode(torch.zeros(tiles, 3, side, side))
            latencies.append(time.perf_counter() - started)

    seconds, _ = asyncio.run(run_together(send_pictures, size))
    timed, rate = latencies[size * PICTURES :], size * PICTURES / seconds  # without the round that warms up
    of = "a picture" if tiles == 1 else f"a picture of {tiles} tiles"
    return result("vision encoder", size, rate, "pictures/s", timed, of, engine.settings.runtime)
