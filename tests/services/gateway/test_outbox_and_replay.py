"""The single exit drops what is late; a log is read again from its start."""

from __future__ import annotations

import asyncio

from protos.parley.v1 import conversation_pb2 as wire
from services.gateway.outbox import Outbox
from services.gateway.replay import Log


def audio(turn_id: str) -> wire.ServerEvent:
    return wire.ServerEvent(turn_id=turn_id, audio=wire.AudioDelta(audio=b"\0\0"))


async def test_nothing_of_a_silenced_turn_leaves_but_how_it_ended():
    outbox = Outbox(limit=8)
    await outbox.put(audio("old"))
    outbox.silence("old")
    await outbox.put(audio("old"))  # late
    outbox.put_now(wire.ServerEvent(turn_id="old", done=wire.TurnDone()))
    await outbox.put(audio("new"))
    outbox.close()
    left = []
    while (event := await outbox.next()) is not None:
        left.append((event.turn_id, event.WhichOneof("event")))
    assert left == [("old", "done"), ("new", "audio")]


async def test_a_slow_client_holds_the_turn_back_and_silence_frees_it():
    outbox = Outbox(limit=2)
    await outbox.put(audio("a"))
    await outbox.put(audio("a"))
    waiting = asyncio.create_task(outbox.put(audio("a")))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    outbox.silence("a")
    outbox.put_now(wire.ServerEvent(turn_id="a", done=wire.TurnDone()))
    assert (await outbox.next()).WhichOneof("event") == "done"
    await waiting


async def test_a_log_is_read_from_the_start_while_it_grows():
    log: Log[int] = Log()
    log.append(1)

    async def everything():
        return [item async for item in log.read()]

    early = asyncio.create_task(everything())
    await asyncio.sleep(0)
    log.append(2)
    late = asyncio.create_task(everything())
    await asyncio.sleep(0)
    log.append(3)
    log.close()
    assert await early == await late == await everything() == [1, 2, 3]
