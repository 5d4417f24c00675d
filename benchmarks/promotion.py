"""What people notice while the local stack changes to another checkpoint, and while such a change fails.

    python -m benchmarks.promotion --questions 100

Four callers ask one question after the other, written and spoken by turns: before (a quarter of the questions), during
a promotion, after it, and during a promotion of a checkpoint with a damaged file, each until the promotion has ended
and `--questions` have been asked. A question is lost if its answer ends with an error, is cut short, or does not come.
It is mixed if two checkpoints took part in its answer, as the gateway logs for each turn. The other checkpoint is the
served one with one number changed, so that its name differs and its answers do not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import grpc

from benchmarks.measuring import everybody_let_in, machine, percentile, table
from benchmarks.workload import questions
from cli.client import Client, Question
from parley.checkpoints import Checkpoint
from protos.parley.v1 import conversation_pb2 as wire
from services.local.releases import DeploymentError, LocalDeployments
from services.local.stack import LocalStack
from services.promotion.pointer import PointerStore, PromotionError
from services.promotion.promotion import Limits, Promotion
from services.rpc.decorator import TOKEN_VARIABLE

CALLERS = 4
COLUMNS = (
    *("phase", "questions", "lost", "mixed", "on the new", "p50 ms", "p95 ms", "worst ms", "seconds"),
    "outcome",
)
ANSWER_SECONDS = 60.0  # after which a question counts as lost
CONFIG = wire.SessionConfig(turn_detection=wire.TURN_DETECTION_MANUAL, input_sample_rate=16_000)


@dataclass
class Phase:
    name: str
    first_audio: list[float] = field(default_factory=list)  # seconds
    lost: list[str] = field(default_factory=list)  # why
    turns: list[str] = field(default_factory=list)  # ids of those that were answered
    seconds: float = 0.0
    outcome: str = ""

    @property
    def asked(self) -> int:
        return len(self.first_audio) + len(self.lost)

    def row(self, weights: dict[str, list[str]], first: str) -> dict[str, object]:
        """`weights`: turn id → names of those that took part. `first`: those that the stack was started with."""
        taking_part = [weights[turn] for turn in self.turns]
        milliseconds = [1000 * each for each in self.first_audio]
        return {
            "phase": self.name,
            "questions": self.asked,
            "lost": len(self.lost),
            "mixed": sum(len(names) != 1 for names in taking_part),
            "on the new": sum(names != [first] for names in taking_part),
            "p50 ms": percentile(milliseconds, 0.5),
            "p95 ms": percentile(milliseconds, 0.95),
            "worst ms": max(milliseconds, default=float("nan")),
            "seconds": self.seconds,
            "outcome": self.outcome,
        }


def second_checkpoint(folder: Path, source: Path, damaged: bool = False) -> Path:
    """The same model with one number changed; `damaged`: its largest file is not what its manifest says."""
    import torch

    from parley.checkpoints import load_model, save_stage

    model = load_model(source)
    with torch.no_grad():
        model.state_head.bias.add_(1e-5)
    parts = {name: part.state_dict() for name, part in model.named_children()}
    save_stage(folder, stage="promoted", config=model.config, parts=parts, tokenizer=model.tokenizer)
    if damaged:
        path = max(folder.glob("*.safetensors"), key=lambda file: file.stat().st_size)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    return folder


@functools.cache
def spoken() -> list:
    return list(islice(questions(seed=7), 8))


def asked() -> Iterator[Question]:
    """Without end, written and spoken by turns."""
    while True:
        for each in spoken():
            yield Question(text="hello", chunk_seconds=0.06)
            yield Question(audio=each.audio, images=[each.picture])


async def call(address: str, phase: Phase, source: Iterator[Question], going_on: Callable[[], bool]) -> None:
    """One caller; one whose connection ends opens another, and the question counts as lost."""
    while going_on():
        try:
            async with Client(address) as client:
                await client.open(CONFIG)
                while going_on():
                    answer = await asyncio.wait_for(client.ask(next(source)), ANSWER_SECONDS)
                    if answer.complete and answer.audio:
                        phase.first_audio.append(answer.first_audio)
                        phase.turns.append(answer.turn_id)
                    else:
                        phase.lost.append(answer.error.message if answer.error else answer.finish_reason)
        except (grpc.RpcError, ConnectionError, TimeoutError) as error:
            phase.lost.append(f"{type(error).__name__}: {error}"[:200])


async def measure(address: str, phase: Phase, least: int, work: Callable[[], str] | None = None) -> Phase:
    """Asks until `work` has ended and `least` questions have been asked."""
    began = time.monotonic()
    working = asyncio.create_task(asyncio.to_thread(work)) if work else None

    def going_on() -> bool:
        return phase.asked < least or (working is not None and not working.done())

    source = asked()
    await asyncio.gather(*(call(address, phase, source, going_on) for _ in range(CALLERS)))
    phase.seconds = time.monotonic() - began
    phase.outcome = await working if working else ""
    return phase


def weights_of_turns(log: Path) -> dict[str, list[str]]:
    """Turn id → names of the weights that took part in its answer, from the gateway's log."""
    lines = map(json.loads, log.read_text().splitlines())
    return {line["turn_id"]: line["weights"] for line in lines if line.get("event") == "turn over"}


def promoting(stack: LocalStack, checkpoint: Path) -> Callable[[], str]:
    """Promotes, and returns how that ended."""
    running = stack.state

    def work() -> str:
        began = time.monotonic()
        deployments, pointer = LocalDeployments(Path(running.runtime_dir)), PointerStore(running.redis_url)
        try:
            Promotion(deployments, pointer, running.services, lambda text: None, Limits()).promote(str(checkpoint))
        except (PromotionError, DeploymentError) as error:
            return f"refused after {time.monotonic() - began:.0f} s: {error}"
        return f"promoted in {time.monotonic() - began:.0f} s"

    return work


async def run(stack: LocalStack, folder: Path, least: int) -> None:
    """Prints the row of each phase once it is over."""
    good = second_checkpoint(folder / "good", stack.checkpoint)
    damaged = second_checkpoint(folder / "damaged", stack.checkpoint, damaged=True)
    address, first = stack.state.gateway, Checkpoint.open(stack.checkpoint).fingerprint
    await measure(address, Phase("warm-up"), 8)
    print(table([], COLUMNS), flush=True)
    for name, number, work in (
        ("before", least // 4, None),
        ("promotion", least, promoting(stack, good)),
        ("after", least // 4, None),
        ("failed promotion", least, promoting(stack, damaged)),
    ):
        phase = await measure(address, Phase(name), number, work)
        row = phase.row(weights_of_turns(stack.directory / "logs" / "gateway.jsonl"), first)
        print(table([row], COLUMNS).splitlines()[-1], flush=True)
        for reason in phase.lost:
            print(f"lost in {phase.name}: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=100, help="least number in each of the two promotions")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    arguments = parser.parse_args()
    print(machine())
    with everybody_let_in(), tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stacks:
        stack = LocalStack(arguments.checkpoint, Path(folder) / "stack", port=0, http_port=0)
        stacks.enter_context(stack)
        os.environ[TOKEN_VARIABLE] = stack.state.service_token
        asyncio.run(run(stack, Path(folder), arguments.questions))


if __name__ == "__main__":
    main()
