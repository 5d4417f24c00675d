"""Measures what a step of each engine costs on this machine, for the simulation of a day (`benchmarks.scaling`).

    python -m benchmarks.scaling_measure [--checkpoint DIR] [--rows 1 8] [--steps 30]

Steps run in this thread with one torch thread, and CPU time is counted: other processes disturb it little. Each is the
median of `--steps`. From two numbers of rows follow `base` and `row` milliseconds of a `ServiceTimes`.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import machine, table
from parley.models.filter_bank import MelFrames
from parley.text.clauses import Clause
from services.llm_core.pieces import Piece
from services.llm_core.sampler import Sampling
from services.registry import SERVICES

PROMPT_TOKENS = 64
ANSWER = "the circle at the top left is red"
COLUMNS = ("service", "rows", "step_ms", "steps", "base_ms", "row_ms", "speech_ms")


def load(name: str, checkpoint: Path) -> Any:
    """The service with its engine, whose thread does not run: this one takes its place."""
    service = SERVICES[name]
    settings = service.load_settings().model_copy(update={"checkpoint": checkpoint, "device": "cpu", "threads": 1})
    servicer = service.load_servicer()(settings)
    servicer.engine = servicer._load_engine()
    servicer.engine.accepting = True
    return servicer


def apply_commands(engine: Any) -> None:
    while engine._commands:
        engine._handle(*engine._commands.popleft())


def timed(step: Callable[[], object], steps: int) -> float:
    """CPU milliseconds of a step, after three that warm up."""
    taken = []
    for _ in range(3 + steps):
        started = time.thread_time()
        step()
        taken.append(1000 * (time.thread_time() - started))
    return median(taken[3:])


def vision_encoder(servicer: Any, rows: int, steps: int) -> float:
    side = servicer.checkpoint.config.vision.image_size
    return timed(lambda: servicer.engine.backend.run(torch.rand(rows, 3, side, side)), steps)


def speech_encoder(servicer: Any, rows: int, steps: int) -> float:
    """A step that encodes a chunk of each row; the filter bank of the chunk included."""
    stream = servicer.engine.stream
    slots = [stream.open() for _ in range(rows)]
    samples = np.random.default_rng(0).standard_normal(round(stream.chunk_seconds * stream.config.sample_rate)) * 0.1
    samples = samples.astype(np.float32)

    mel_frames = [MelFrames(stream.config) for _ in slots]

    def step() -> None:
        for slot, mel in zip(slots, mel_frames, strict=True):
            stream.feed(slot, mel.feed(samples))
        if stream.ready():
            stream.step()

    milliseconds = timed(step, steps)
    for slot in slots:
        stream.close(slot)
    return milliseconds


def llm_core(servicer: Any, rows: int, steps: int) -> float:
    """A step that decodes a token of each row, with prompts of `PROMPT_TOKENS`."""
    engine = servicer.engine
    engine.answers.stop_ids = frozenset()  # answers go on to their longest
    engine.answers.state_head = lambda hidden: torch.tensor([4.0, 0.0, 0.0])  # "speech"
    ids = torch.randint(2, 200, (PROMPT_TOKENS,), generator=torch.Generator().manual_seed(0)).tolist()
    for row in range(rows):
        request = engine.open(f"s{row}", "turn", [Piece(ids)], Sampling(max_tokens=200, temperature=1.0))
        request.respond([Piece([2])])
    apply_commands(engine)
    while len(engine._scheduler.decoding()) < rows:
        engine.step()
    milliseconds = timed(engine.step, steps)
    assert len(engine._scheduler.decoding()) == rows
    for request in list(engine.live.values()):
        request.close()
    apply_commands(engine)
    return milliseconds


def speech_decoder(servicer: Any, rows: int, steps: int) -> float:
    """A step that makes a codec token of each row; the codec's share is in it, as chunks become ready."""
    engine = servicer.engine
    encoded = servicer.tokenizer.encode(ANSWER)
    taken: list[float] = []
    while len(taken) < steps:
        for _ in range(rows):
            request = engine.open([0] * servicer.codec.num_speaker_tokens, 0)
            request.add_clause(Clause(encoded.ids, encoded.tokens, len(encoded.ids)))
            request.finish()
        apply_commands(engine)
        engine.step()  # reads the clauses
        while len(engine._slots) == rows:
            started = time.thread_time()
            engine.step()
            taken.append(1000 * (time.thread_time() - started))
        for request in list(engine.live.values()):
            request.close()
        apply_commands(engine)
    return sum(taken) / len(taken)


MEASURES = {each.__name__: each for each in (vision_encoder, speech_encoder, llm_core, speech_decoder)}


def speech_ms(name: str, servicer: Any) -> float | str:
    """Speech that a step stands for."""
    if name == "speech_encoder":
        return 1000 * servicer.engine.stream.chunk_seconds
    return 1000 / servicer.engine.frame_rate if name == "speech_decoder" else ""


async def measure(name: str, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """A row of the table for each number of rows; base and row are in the last. Requests need a running loop."""
    servicer = load(name, arguments.checkpoint)
    with torch.inference_mode():
        steps = {rows: MEASURES[name](servicer, rows, arguments.steps) for rows in arguments.rows}
    (few, first), *_, (many, last) = steps.items()
    row_ms = (last - first) / (many - few)
    found = [{"service": name, "rows": rows, "step_ms": step, "steps": arguments.steps} for rows, step in steps.items()]
    found[-1] |= {"base_ms": first - few * row_ms, "row_ms": row_ms, "speech_ms": speech_ms(name, servicer)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--rows", nargs=2, type=int, default=[1, 8], help="two numbers of rows, the smaller first")
    parser.add_argument("--steps", type=int, default=30, help="of which the median is taken")
    arguments = parser.parse_args()
    if not 0 < arguments.rows[0] < arguments.rows[1]:
        parser.error("--rows: two numbers, the smaller first")
    torch.set_num_threads(1)
    rows = [row for name in MEASURES for row in asyncio.run(measure(name, arguments))]
    print(table(rows, COLUMNS))
    print(", ".join(f"{name} {value}" for name, value in machine().items()))


if __name__ == "__main__":
    main()
