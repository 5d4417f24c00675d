"""How long another user waits while many clients ask slowly: `python -m benchmarks.slow_questions --slow 0 16 32`.

Each slow client begins a spoken question with manual turns and sends 0.1 s of it every 5 s. Beside them somebody asks
in writing, again and again. The gateway and the four services run in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from pathlib import Path

import structlog

from benchmarks.measuring import percentile
from benchmarks.one_process import OneProcess
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling

PIECE = bytes(2 * 1600)  # 0.1 s at 16 kHz
EVERY_SECONDS = 5.0
PAUSE_SECONDS = 0.5  # between two questions in writing
MANUAL = wire.TURN_DETECTION_MANUAL


async def ask_slowly(process: OneProcess, seconds: float) -> str:
    """→ the code of the error that the question was refused with; empty: it was not."""
    async with process.client() as client:
        await client.open(wire.SessionConfig(turn_detection=MANUAL, text_only=True))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await client.send(audio=PIECE)
            await asyncio.sleep(min(EVERY_SECONDS, max(0.0, until - time.monotonic())))
        await client.send(cancel=wire.CancelTurn())
        async for event in client.events():
            if event.HasField("error"):
                return event.error.code
            if event.HasField("done"):
                return ""
    return ""


async def ask_in_writing(process: OneProcess, until: float) -> list[float]:
    """Seconds to the first text of each answer."""
    waits = []
    config = wire.SessionConfig(turn_detection=MANUAL, text_only=True, sampling=Sampling(max_tokens=8))
    async with process.client() as client:
        await client.open(config)
        while time.monotonic() < until:
            began = time.monotonic()
            await client.send(text="hello", question_id=str(len(waits)))
            await client.send(respond=wire.Respond(), question_id=str(len(waits)))
            async for event in client.events():
                if event.HasField("text") and len(waits) == int(event.question_id):
                    waits.append(time.monotonic() - began)
                if event.HasField("done"):
                    break
            await asyncio.sleep(PAUSE_SECONDS)
    return waits


async def measure(process: OneProcess, slow: int, seconds: float) -> None:
    asking = [asyncio.create_task(ask_slowly(process, seconds + 2)) for _ in range(slow)]
    await asyncio.sleep(2.0)
    waits = await ask_in_writing(process, time.monotonic() + seconds)
    refused = sum(bool(code) for code in await asyncio.gather(*asking))
    told = f"p50 {percentile(waits, 0.5):.3f} s, worst {max(waits):.3f} s" if waits else "no answer at all"
    print(f"{slow:3} slow questions ({refused} failed): first text of {len(waits)} answers to another: {told}")


def silence_logs() -> None:
    """All but errors."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


async def main(checkpoint: Path, counts: list[int], seconds: float) -> None:
    silence_logs()
    process = OneProcess(checkpoint)
    await process.start()
    for count in counts:
        await measure(process, count, seconds)
    await process.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--slow", type=int, nargs="+", default=[0, 16, 32])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    given = parser.parse_args()
    asyncio.run(main(given.checkpoint, given.slow, given.seconds))
