"""A step of each encoder in its own process and in a Triton server, in the same run, in turns.

    python -m benchmarks.triton [--checkpoint DIR] [--steps 100] [--batch 1 4 16] [--repository DIR] [--json FILE]

The server is the one of `make triton`, with the Python backend, on this machine. A step is what the engine's thread
waits for: n tiles, or one chunk of each of n utterances.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import triton_server
from benchmarks.measuring import machine, percentile, table, write_json
from parley.checkpoints import Checkpoint
from parley.export.repository import write_speech, write_vision
from parley.export.signature import SpeechChunks
from parley.models.speech_step import Chunk, reach
from services.registry import SERVICES, import_path

COLUMNS = ("encoder", "batch", "local_p50_ms", "local_p95_ms", "triton_p50_ms", "triton_p95_ms", "steps")
WARM_UP_STEPS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--repository", type=Path, help="one that was exported with --runtime python; else one is made")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        repository = arguments.repository or export(arguments.checkpoint, Path(folder) / "models")
        server = triton_server.start(repository, Path(folder) / "log")
        try:
            rows = asyncio.run(measure(arguments.checkpoint, server.url, arguments.batch, arguments.steps))
        finally:
            server.stop()
    print(table(rows, COLUMNS))
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    if arguments.json:
        write_json(arguments.json, {"machine": facts, "checkpoint": str(arguments.checkpoint), "results": rows})


def export(checkpoint: Path, folder: Path) -> Path:
    source = Checkpoint.open(checkpoint)
    write_vision(source, folder, "python")
    write_speech(source, folder, SpeechChunks.chosen(source.config.speech, None, None, 60.0), "python")
    return folder


async def measure(checkpoint: Path, url: str, sizes: list[int], steps: int) -> list[dict]:
    rows = []
    for name, make_step in (("vision_encoder", vision_step), ("speech_encoder", speech_step)):
        running = [await started(name, checkpoint), await started(name, checkpoint, backend="triton", triton_url=url)]
        for size in sizes:
            local, triton = (make_step(service, size) for service in running)
            rows.append({"encoder": name, "batch": size} | await asyncio.to_thread(compare, local, triton, steps))
        for service in running:
            await service.stop()
    return rows


async def started(name: str, checkpoint: Path, **settings):
    """A service whose engine gets no requests: only its backend is used."""
    kind = import_path(SERVICES[name].settings)
    service = SERVICES[name].load_servicer()(kind(checkpoint=checkpoint, device="cpu", threads=1, **settings))
    await service.start()
    return service


def vision_step(service, tiles: int) -> Callable[[], object]:
    side = service.config.image_size
    pixels = torch.randn(tiles, 3, side, side)
    return lambda: service.engine.backend.run(pixels)


def speech_step(service, utterances: int) -> Callable[[], object]:
    """The next chunk of the same utterances at each call."""
    backend, mel = service.engine.backend, service.config.num_mel_bins
    for slot in range(utterances):
        backend.open(slot)
    features = torch.randn(reach(backend.chunk_size), mel)
    chunks = [Chunk(slot, features, backend.chunk_size, last=False) for slot in range(utterances)]
    return lambda: backend.run(chunks)


def compare(local: Callable[[], object], triton: Callable[[], object], steps: int) -> dict[str, float]:
    torch.set_num_threads(1)
    taken = {"local": [], "triton": []}
    for number in range(WARM_UP_STEPS + steps):
        for name, step in (("local", local), ("triton", triton)):
            begun = time.perf_counter()
            step()
            if number >= WARM_UP_STEPS:
                taken[name].append(1000 * (time.perf_counter() - begun))
    found = {f"{name}_p{p}_ms": percentile(values, p / 100) for name, values in taken.items() for p in (50, 95)}
    return found | {"steps": steps}


if __name__ == "__main__":
    main()
