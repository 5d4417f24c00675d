"""Items of a session: created, retrieved, truncated and deleted by the client; and what a turn leaves."""

from __future__ import annotations

import pytest

from cli.client import Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Message
from protos.parley.v1.usage_pb2 import FinishReason

DEEP = f'{{"a": {"[" * 1900}{"]" * 1900}}}'


async def reply(client: Client, **event) -> wire.ServerEvent:
    """The next event of the session after sending one."""
    await client.send(**event)
    async for answer in client.events():
        if not answer.turn_id:
            return answer
    raise AssertionError("the stream ended")


def text_item(text: str, role=Message.ROLE_USER, **more) -> wire.Item:
    content = [wire.ItemContent(text=text)]
    return wire.Item(type=wire.Item.TYPE_MESSAGE, role=role, content=content, **more)


async def test_a_turn_leaves_two_items_that_the_client_is_told_of(make_gateway, connect, spoken_question, picture):
    client = await connect(await make_gateway())
    events = []
    answer = await client.ask(Question(audio=spoken_question.tobytes(), images=[picture], paced=False), events.append)
    created = [event.item_created for event in events if event.HasField("item_created")]
    question, spoken = (each.item for each in created)
    assert [content.WhichOneof("content") for content in question.content] == ["image", "transcript"]
    assert spoken.content[0].text == answer.text and created[1].previous_item_id == question.id
    assert created[0].previous_item_id == ""
    got = await reply(client, retrieve_item=wire.RetrieveItem(item_id=spoken.id))
    assert got.item.content[0].text == answer.text and got.item.turn_id == answer.turn_id


async def test_an_answer_truncated_at_a_played_sample_is_what_the_model_is_given_again(make_gateway, connect):
    gateway = await make_gateway()
    client = await connect(gateway, max_tokens=40)
    events = []
    answer = await client.ask(Question(text="tell me a story"), events.append)
    (item_id,) = [event.item_created.item.id for event in events if event.HasField("item_created")][1:]
    half = len(answer.audio) // 4
    truncated = await reply(client, truncate_item=wire.TruncateItem(item_id=item_id, samples=half))
    assert (truncated.item_truncated.item_id, truncated.item_truncated.samples) == (item_id, half)
    kept = await gateway.backend.store.items.get(client.session_id, item_id)
    assert kept.played == half


async def test_created_items_are_part_of_the_history_and_deleted_ones_are_not(make_gateway, connect):
    client = await connect(await make_gateway(), text_only=True)
    fresh = await (await connect(await make_gateway(), text_only=True)).ask(Question(text="and what else?"))
    first = await reply(client, create_item=wire.CreateItem(item=text_item("what is two plus three?")))
    after = text_item("it is five.", Message.ROLE_ASSISTANT, id="mine")
    second = await reply(client, create_item=wire.CreateItem(item=after, previous_item_id=first.item_created.item.id))
    assert second.item_created.item.id == "mine"
    known = await client.ask(Question(text="and what else?"))
    assert known.text != fresh.text
    for item_id in (first.item_created.item.id, "mine"):
        deleted = await reply(client, delete_item=wire.DeleteItem(item_id=item_id))
        assert deleted.item_deleted.item_id == item_id
    missing = await reply(client, retrieve_item=wire.RetrieveItem(item_id="mine"))
    assert missing.error.code == "NOT_FOUND"


MANY_PARTS = wire.Item(type=1, role="ROLE_USER", content=[wire.ItemContent(text="a")] * 65)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"create_item": wire.CreateItem(item=wire.Item())}, "INVALID_ARGUMENT"),
        ({"create_item": wire.CreateItem(item=text_item(""))}, "INVALID_ARGUMENT"),
        ({"create_item": wire.CreateItem(item=text_item("x" * 5000))}, "RESOURCE_EXHAUSTED"),
        ({"create_item": wire.CreateItem(item=MANY_PARTS)}, "RESOURCE_EXHAUSTED"),
        ({"create_item": wire.CreateItem(item=text_item("hi"), previous_item_id="none")}, "NOT_FOUND"),
        (
            {"create_item": wire.CreateItem(item=wire.Item(type=2, call_id="c", name="f", arguments="no"))},
            "INVALID_ARGUMENT",
        ),
        (
            {"create_item": wire.CreateItem(item=wire.Item(type=2, call_id="c", name="f", arguments=DEEP))},
            "INVALID_ARGUMENT",
        ),
        ({"create_item": wire.CreateItem(item=text_item("hi", id="x" * 200))}, "INVALID_ARGUMENT"),
        ({"truncate_item": wire.TruncateItem(item_id="none", samples=1)}, "NOT_FOUND"),
        ({"truncate_item": wire.TruncateItem(item_id="none", samples=-1)}, "INVALID_ARGUMENT"),
        ({"delete_item": wire.DeleteItem(item_id="none")}, "NOT_FOUND"),
    ],
)
async def test_what_cannot_be_done_with_an_item_is_refused_and_the_stream_goes_on(make_gateway, connect, event, code):
    client = await connect(await make_gateway(), text_only=True)
    assert (await reply(client, **event)).error.code == code
    assert (await client.ask(Question(text="hello"))).complete


async def test_a_config_that_changes_holds_from_the_next_turn_on_and_for_later_connections(make_gateway, connect):
    gateway = await make_gateway()
    client = await connect(gateway)
    assert (await client.ask(Question(text="hello"))).audio
    told = await reply(client, update=wire.SessionConfig(text_only=True, instructions="be brief"))
    assert told.session_updated.text_only and told.session_updated.instructions == "be brief"
    silent = await client.ask(Question(text="hello"))
    assert silent.complete and not silent.audio
    again = Client(f"127.0.0.1:{gateway.port}")
    ready = await again.open(wire.SessionConfig(), client.session_id)
    assert ready.config.text_only and ready.config.instructions == "be brief"
    await again.close()
    refused = await reply(client, update=wire.SessionConfig(speaker="nobody"))
    assert refused.error.code == "INVALID_ARGUMENT" and "default" in refused.error.message


async def test_a_turn_ends_with_usage_and_a_finish_reason(make_gateway, connect, spoken_question):
    client = await connect(await make_gateway())
    answer = await client.ask(Question(audio=spoken_question.tobytes(), paced=False))
    usage = answer.usage
    assert answer.finish_reason == "length" and usage.answer_tokens == 12 and usage.prompt_tokens > 20
    assert usage.audio_input_seconds == pytest.approx(len(spoken_question) / 16_000)
    assert usage.audio_output_seconds == pytest.approx(answer.audio_seconds)
    second = await client.ask(Question(text="and what else?"))
    assert second.usage.cached_tokens > 0
    assert FinishReason.Value("FINISH_REASON_LENGTH") == 2


async def test_history_is_bounded_by_the_models_context(make_gateway, connect):
    client = await connect(await make_gateway(conversation__history_share=0.2), text_only=True)
    for number in range(12):
        answer = await client.ask(Question(text=f"question {number}: " + "one two three " * 5))
        assert answer.complete, answer.error
    assert answer.usage.prompt_tokens < 0.2 * 512 + 60
