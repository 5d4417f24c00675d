"""Whatever the order of the parts and ends of named questions, each that was ended is told of with a `done`."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_files import samples
from benchmarks.fuzz_stack import SETTINGS
from cli.client import Client
from protos.parley.v1 import conversation_pb2 as wire

EVENTS = {
    "text": {"text": "hello"},
    "long text": {"text": "x" * 5000},
    "speech": {"audio": bytes(8000)},
    "half a sample": {"audio": b"x"},
    "picture": {"image": samples("picture")["jpeg"]},
    "no picture": {"image": b"this is no picture"},
    "frame": {"frame": samples("picture")["png"]},
    "respond": {"respond": wire.Respond()},
    "end": {"end_of_audio": wire.EndOfAudio()},
    "cancel": {"cancel": wire.CancelTurn()},
    "pause": {},  # for what comes of the events before
}
ENDS = ("respond", "end")
STEPS = st.lists(st.tuples(st.sampled_from(("one", "two")), st.sampled_from(list(EVENTS))), min_size=2, max_size=9)


async def play(port: int, steps: list[tuple[str, str]]) -> Counter:
    """How often each question was said to be over, until that of a last one."""
    done, due = Counter(), {"last"} | {name for name, event in steps if event in ENDS}
    async with Client(f"127.0.0.1:{port}") as client:
        await client.open(SETTINGS)
        for name, event in [*steps, ("last", "text"), ("last", "respond")]:
            if event == "pause":
                await asyncio.sleep(0.02)
            else:
                await client.send(question_id=name, **EVENTS[event])
        async for event in client.events():
            done[event.question_id] += event.HasField("done")
            if all(done[name] for name in due):
                break
    return done


@settings(max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_each_question_that_was_ended_is_over(stack, steps):
    done = stack.run(play(stack.gateway.port, steps))
    begun = Counter(name for name, event in steps if event in (*ENDS, "speech"))
    assert done["last"] == 1 and all(done[name] <= begun[name] for name in ("one", "two")), (steps, done)
