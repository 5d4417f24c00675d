"""The single exit of a connection drops what is late."""

from __future__ import annotations

import asyncio

from services.gateway.conversation.outbox import Outbox
from services.gateway.events import AudioDelta, Event, Playback, Transcript, TurnDone


def audio(turn_id: str) -> Event:
    return Event(AudioDelta(b"\0\0", 24_000, 0), turn_id)


async def test_nothing_of_a_silenced_turn_leaves_but_how_it_ended():
    outbox = Outbox(limit=8)
    await outbox.put(audio("old"))
    outbox.silence("old")
    await outbox.put(audio("old"))  # late
    outbox.put_now(Event(TurnDone("cancelled"), "old"))
    await outbox.put(audio("new"))
    outbox.close()
    left = []
    while (event := await outbox.next()) is not None:
        left.append((event.turn_id, type(event.body)))
    assert left == [("old", TurnDone), ("new", AudioDelta)]


async def test_a_slow_client_holds_the_turn_back_and_silence_frees_it():
    outbox = Outbox(limit=2)
    await outbox.put(audio("a"))
    await outbox.put(audio("a"))
    waiting = asyncio.create_task(outbox.put(audio("a")))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    outbox.silence("a")
    outbox.put_now(Event(TurnDone("cancelled"), "a"))
    assert type((await outbox.next()).body) is TurnDone
    await waiting


async def test_the_newest_word_on_playback_goes_first_and_alone():
    outbox = Outbox(limit=8)
    outbox.put_now(audio("a"))
    for action in ("pause", "resume", "pause"):
        outbox.put_first(Event(Playback(action), "a"))
    assert (await outbox.next()).body == Playback("pause") and (await outbox.next()).turn_id == "a"
    assert outbox.unread == 0


async def test_what_is_told_of_speech_that_may_interrupt_is_no_backlog():
    outbox = Outbox(limit=2)
    outbox.withhold("b")
    for text in ("what", "what is", "what is it"):
        outbox.put_now(Event(Transcript(text), "b"))
    assert outbox._next_now() is None and outbox.backlog == 0
    await outbox.put(audio("a"))
    assert (await outbox.next()).turn_id == "a"
    outbox.release_unmeant("b")
    outbox.put_now(Event(TurnDone("nothing"), "b"))
    assert isinstance((await outbox.next()).body, TurnDone)


async def test_a_batch_is_what_can_go_at_once():
    outbox = Outbox(limit=8)
    waiting = asyncio.create_task(outbox.next_batch(2))
    await asyncio.sleep(0)
    assert not waiting.done()
    for turn_id in "abc":
        outbox.put_now(audio(turn_id))
    outbox.hold("c")
    outbox.put_now(audio("d"))
    assert [event.turn_id for event in await waiting] == ["a", "b"]
    assert [event.turn_id for event in await outbox.next_batch(8)] == ["d"]
    outbox.close()
    assert [event.turn_id for event in await outbox.next_batch(8)] == ["c"]
    assert await outbox.next_batch(8) == []


async def test_what_is_replayed_goes_first_also_of_a_silenced_turn_and_is_no_backlog():
    outbox = Outbox(limit=1)
    outbox.put_now(audio("new"))
    outbox.silence("old")
    outbox.replay([audio("old"), audio("old")])
    assert outbox.backlog == 1
    assert [event.turn_id for event in await outbox.next_batch(8)] == ["old", "old", "new"]
