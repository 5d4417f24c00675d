"""The items of a session as its client reads and changes them."""

from __future__ import annotations

import pytest

from cli.client import Question
from protos.parley.v1 import conversation_pb2 as wire


@pytest.mark.parametrize("samples", [10**6, 2**62])
async def test_a_client_that_has_played_more_than_was_sent_has_played_what_was_sent(make_gateway, connect, samples):
    client = await connect(await make_gateway())
    answer = await client.ask(Question(text="hello"))
    await client.send(played=wire.Played(turn_id=answer.turn_id, samples=samples))
    await client.send(played=wire.Played(turn_id="never", samples=samples))  # a turn that there never was
    await client.send(retrieve_item=wire.RetrieveItem(item_id=f"item_{answer.turn_id}_a"))
    async for event in client.events():
        assert not event.HasField("error")
        if event.HasField("item"):
            assert event.item.played == len(answer.audio) // 2 > 0
            break
    assert (await client.ask(Question(text="hello"))).complete
