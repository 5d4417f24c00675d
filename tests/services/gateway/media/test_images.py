"""Embeddings of pictures: found by every gateway before the same weights, by none before others, and sent once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from cli.client import Question
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.media.images import Images
from services.gateway.settings import MediaSettings
from services.gateway.upstream.stream import GrpcStream
from services.telemetry import metrics


def encoded() -> float:
    """Pictures that a vision encoder has been asked for so far."""
    return metrics.REQUESTS.labels("vision_encoder", "Encode", "OK")._value.get()


async def test_what_one_gateway_kept_another_finds(make_gateway, connect, draw):
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
    talk = await connect(here, text_only=True)
    assert (await talk.ask(Question(text="what is it?", images=[draw("salmon")]))).complete
    await talk.close()
    items = await here.backend.store.items.list(client.session_id)
    (ref,) = [part.ref for item in items for part in item.parts if part.kind == "image"]
    await asyncio.to_thread(services.start, "vision_encoder", "changed", checkpoint=silent_checkpoint)
    there = await make_gateway(upstream__vision_encoder=f"127.0.0.1:{services.ports['changed']}")
    before = encoded()
    assert (await (await connect(there, text_only=True)).ask(question)).complete
    assert encoded() == before + 1
    names = [(await gateway.backend.releases.current.describe("vision_encoder")).weights for gateway in (here, there)]
    assert ref.weights == names[0] != names[1]
    for name in names:
        assert await here.backend.store.embeddings.find(name, ref.hash) is not None
    before = encoded()  # the conversation goes on: the picture of its history is encoded again
    assert (await (await connect(there, talk.session_id, text_only=True)).ask(Question(text="and now?"))).complete
    assert encoded() == before + 1
    await asyncio.to_thread(services.kill, "changed")


async def test_the_llm_core_is_sent_the_embeddings_that_it_lacks_and_no_others(
    make_gateway, connect, draw, spoken_question, monkeypatch
):
    sent = []
    send = GrpcStream.send

    async def record(self, request):
        if request.DESCRIPTOR.name == "GenerateRequest" and request.WhichOneof("message") == "embeddings":
            sent.append(request.embeddings.ref.length)
        await send(self, request)

    monkeypatch.setattr(GrpcStream, "send", record)
    client = await connect(await make_gateway())
    spoken = Question(audio=spoken_question.tobytes(), images=[draw("orchid")], paced=False)
    assert (await client.ask(spoken)).complete
    assert len(sent) == 1  # the picture
    follow_up = await client.ask(Question(text="and what else?"))
    assert follow_up.complete and len(sent) == 1  # neither the picture nor the speech of the history
    assert follow_up.usage.cached_tokens > 20


async def test_a_picture_that_nobody_keeps_any_more_is_encoded_again(make_gateway, draw, monkeypatch):
    backend = (await make_gateway()).backend
    calls = backend.releases.current
    images = Images(backend.store.embeddings, writer := EmbeddingWriter(backend.store.embeddings), MediaSettings())
    image = await images.encode("image", [draw("sienna")], "s", calls)
    await writer.wait()
    gone = replace(image, tensor=None)  # as if another turn had encoded it

    async def forget(refs):
        return {}

    monkeypatch.setattr(backend.store.embeddings, "get", forget)
    before = encoded()
    assert await images.tensor(gone, "s", calls) == image.tensor and encoded() == before + 1
    other = image.ref.model_copy(update={"weights": "others"})
    assert await images.tensor(replace(gone, ref=other), "s", calls) is None


async def test_a_picture_of_another_release_is_encoded_again(make_gateway, draw):
    backend = (await make_gateway()).backend
    calls = backend.releases.current
    images = Images(backend.store.embeddings, writer := EmbeddingWriter(backend.store.embeddings), MediaSettings())
    image = await images.encode("image", [draw("peru")], "s", calls)
    await writer.wait()
    before = encoded()
    assert await images.encode_again(asyncio.sleep(0, image), "s", calls) is image and encoded() == before
    old = replace(image, ref=image.ref.model_copy(update={"weights": "others"}))
    again = await images.encode_again(asyncio.sleep(0, old), "s", calls)
    assert again.ref == image.ref
