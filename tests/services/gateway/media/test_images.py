"""What was made of pictures and speech is found by every gateway before the same weights, and by none before others."""

from __future__ import annotations

import asyncio

from cli.client import Question
from services.gateway.embeddings import Embeddings
from services.telemetry import metrics


def encoded() -> float:
    """Pictures that a vision encoder has been asked for so far."""
    return metrics.REQUESTS.labels("vision_encoder", "Encode", "OK")._value.get()


async def test_what_one_gateway_kept_another_finds_by_itself(make_gateway, connect, draw):
    question = Question(text="what is it?", images=[draw("gold")])
    before = encoded()
    for _ in range(2):
        client = await connect(await make_gateway(), text_only=True)
        assert (await client.ask(question)).complete
    assert encoded() == before + 1


async def test_what_other_weights_made_is_not_found(make_gateway, connect, services, draw, silent_checkpoint):
    question = Question(text="what is it?", images=[draw("plum")])
    here = await make_gateway()
    client = await connect(here, text_only=True)
    assert (await client.ask(question)).complete
    (kept,) = [
        (part.kind, part.hash)
        for message in await here.service.store.history(client.session_id)
        for part in message.parts
        if part.kind == "image"
    ]
    await asyncio.to_thread(services.start, "vision_encoder", "changed", checkpoint=silent_checkpoint)
    there = await make_gateway(upstream__vision_encoder=f"127.0.0.1:{services.ports['changed']}")
    before = encoded()
    assert (await (await connect(there, text_only=True)).ask(question)).complete
    assert encoded() == before + 1
    names = [await gateway.service.upstream.weights("vision") for gateway in (here, there)]
    assert all(names) and names[0] != names[1]
    for gateway, found in ((here, 1), (there, 1), (await make_gateway(upstream__vision_encoder="127.0.0.1:9"), 0)):
        assert len(await Embeddings(gateway.service.store, gateway.service.upstream).get([kept])) == found
    await asyncio.to_thread(services.kill, "changed")
