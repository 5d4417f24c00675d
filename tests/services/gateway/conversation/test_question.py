"""A question as it grows: its bounds, its name, its parts in order."""

from __future__ import annotations

import asyncio

import pytest

from protos.parley.v1.language_model_pb2 import Part
from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.conversation.question import Question, to_wire
from services.gateway.events.items import Ref
from services.gateway.media.images import EncodedImage
from services.gateway.settings import MediaSettings
from services.gateway.turn.encode_speech import PAUSE, Tail
from services.gateway.turn.input_log import InputLog
from services.rpc.errors import ServiceError

SECOND = bytes(32_000)
SETTINGS = MediaSettings(max_audio_seconds=2, min_audio_seconds=0.1)


def tensor(*values: int) -> Tensor:
    """[n, 1] of bytes, for the sake of brevity."""
    return Tensor(dtype="float32", shape=[len(values), 1], data=bytes(values))


def ref(name: str) -> Ref:
    return Ref(weights="w", hash=name, length=1)


async def encoded(name: str, after: asyncio.Event | None = None) -> EncodedImage:
    if after is not None:
        await after.wait()
    return EncodedImage(ref(name), "image", [b""], 0.1)


def question(spoken: bool = True) -> Question:
    return Question(spoken, 16_000, SETTINGS)


def test_audio_has_a_longest_and_a_shortest():
    asked = question()
    asked.add_audio(SECOND)
    asked.add_audio(SECOND)
    assert asked.seconds == 2
    with pytest.raises(ServiceError, match="limit of 2 s"):
        asked.add_audio(bytes(2))
    short = question()
    short.add_audio(bytes(320))
    with pytest.raises(ServiceError, match=r"0\.010 s is too short"):
        short.end()
    assert short.ended.is_set() and short.audio.closed  # whoever reads it comes to an end all the same
    question(spoken=False).end()


def test_only_a_spoken_question_that_lasts_can_be_idle():
    asked = question()
    asked.add_audio(SECOND)
    asked._last_audio -= 5
    assert asked.idle_seconds >= 5
    asked.end()
    assert asked.idle_seconds == 0 == question(spoken=False).idle_seconds


def test_its_speech_is_named_by_its_audio_in_whatever_chunks_it_came():
    names = []
    for chunks in ([b"ab", b"cd"], [b"abcd"], [b"abce"]):
        asked = question()
        for chunk in chunks:
            asked.add_audio(chunk)
        asked.weights = "w"
        asked.embeddings.append(tensor(1, 2))
        asked.embeddings.append(tensor(3))
        asked.name_utterance()
        assert asked.utterance.length == 3 and asked.utterance.weights == "w"
        assert asked.speech() == tensor(1, 2, 3)
        names.append(asked.utterance.hash)
    assert names[0] == names[1] != names[2]
    silent = question()
    silent.name_utterance()
    assert silent.utterance is None


async def test_its_item_has_pictures_speech_and_text_and_no_picture_that_failed():
    async def refused():
        raise ValueError

    asked = question()
    asked.images = [asyncio.create_task(make) for make in (encoded("a"), refused(), encoded("b", asyncio.Event()))]
    await asyncio.wait(asked.images[:2])
    asked.images[1].exception()
    asked.utterance, asked.transcript, asked.texts = ref("u"), "what is it", ["and", "why?"]
    kinds = [(part.kind, part.ref.hash if part.ref else part.text) for part in asked.item_parts()]
    assert kinds == [("image", "a"), ("speech", "u"), ("text", "and"), ("text", "why?")] and asked.characters == 7
    pending = asked.images[2]
    asked.release()
    assert [part.kind for part in asked.item_parts()] == ["speech", "text", "text"]
    pending.cancel()


async def test_pictures_come_first_also_one_that_is_added_while_another_is_encoded():
    asked, done = question(), asyncio.Event()
    asked.images = [asyncio.create_task(encoded("a", done))]
    parts: InputLog[Part] = InputLog()
    writing = asyncio.create_task(asked.write_images(parts))
    await asyncio.sleep(0)
    asked.images.append(asyncio.create_task(encoded("b", done)))
    done.set()
    await writing
    assert [part.image for part in parts.items] == [to_wire(ref("a")), to_wire(ref("b"))]


async def test_an_attempt_that_is_cut_off_does_not_stop_the_picture():
    asked, done = question(), asyncio.Event()
    asked.images = [asyncio.create_task(encoded("a", done))]
    attempt = asyncio.create_task(asked.write_images(InputLog()))
    await asyncio.sleep(0)
    attempt.cancel()
    await asyncio.wait({attempt})
    done.set()
    assert (await asked.images[0]).ref == ref("a")


async def test_speech_is_written_as_it_is_encoded():
    asked = question()
    parts: InputLog[Part] = InputLog()
    writing = asyncio.create_task(asked.write_speech(parts, lambda tail: True))
    asked.embeddings.append(tensor(1))
    await asyncio.sleep(0)
    assert parts.items == [Part(speech=tensor(1))]
    asked.embeddings.close()
    assert await writing is None and len(parts.items) == 1 and not parts.closed
    asked.texts += ["and why?", "now"]
    asked.write_texts(parts)
    assert parts.items[1:] == [Part(text="and why?"), Part(text="now")]


async def test_at_a_pause_that_is_wanted_the_speech_is_written_with_its_tail():
    asked = question()
    asked.add_audio(SECOND)
    parts, wanted = InputLog(), []
    writing = asyncio.create_task(asked.write_speech(parts, lambda tail: asked.over_at(tail) and tail.pause in wanted))
    asked.embeddings.append(tensor(1))
    tail = Tail(asked.pause(), position=1, embeddings=tensor(2), weights="w")
    assert asked.pause() == tail.pause == 1, "a pause that goes on is one"
    asked.set_tail(tail)
    await asyncio.sleep(0)
    assert not writing.done()
    wanted.append(1)
    asked.set_tail(tail)
    assert await writing is tail and parts.items == [Part(speech=tensor(1)), Part(speech=tensor(2))]
    assert asked.name_with(tail).length == 2 and asked.utterance is None
    asked.add_audio(SECOND)
    assert not asked.over_at(tail) and asked.seconds == 2
    assert asked.audio.items == [SECOND, PAUSE, SECOND]
