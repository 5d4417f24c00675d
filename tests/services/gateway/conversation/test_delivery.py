"""Events have numbers that go on from connection to connection, and lie in the event log."""

from __future__ import annotations

import asyncio

from cli.client import Question
from services.gateway.api.grpc.wire import write_event


async def test_every_event_is_numbered_and_kept(make_gateway, connect):
    gateway = await make_gateway()
    client = await connect(gateway, max_tokens=6)
    events = []
    await client.ask(Question(text="hello"), events.append)
    await client.close()
    for _ in range(200):
        if gateway.backend.admission.connections == 0:
            break
        await asyncio.sleep(0.02)
    numbers = [event.sequence for event in events]
    assert numbers == list(range(2, 2 + len(events)))  # 1 was the session's
    kept = await gateway.backend.store.events.read(client.session_id, after=1)
    assert [write_event(event) for event in kept] == events

    elsewhere = await connect(await make_gateway(), client.session_id, max_tokens=6)
    later = []
    await elsewhere.ask(Question(text="hello"), later.append)
    assert later[0].sequence > numbers[-1] + 1  # numbers that another connection may have used are left out
