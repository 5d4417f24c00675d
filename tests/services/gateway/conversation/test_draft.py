"""What has come for the next question."""

from __future__ import annotations

import asyncio

from services.gateway.conversation.draft import Draft


def test_only_the_newest_frames_are_kept_and_they_are_taken_once():
    draft = Draft(max_frames=2)
    draft.frames.extend([b"a", b"b", b"c"])
    assert draft.take_frames() == [b"b", b"c"] and draft.take_frames() == []


def test_a_question_is_refused_for_its_first_reason():
    draft = Draft(max_frames=1)
    assert not draft.refused("q") and not draft.refused("")
    first = ValueError("first")
    draft.refuse("q", first)
    draft.refuse("q", ValueError("second"))
    assert draft.refused("q") and draft.refusal.error is first and not draft.refused("p")
    draft.refuse("p", ValueError("of another question"))
    assert draft.refused("p") and not draft.refused("q")


async def test_what_a_question_takes_over_goes_on_and_what_is_discarded_is_stopped():
    forever = asyncio.Event()
    draft = Draft(max_frames=1, texts=["what", "is it?"])
    assert draft.characters == 10
    taken = asyncio.create_task(forever.wait())
    draft.images.append(taken)
    draft.frames.append(b"a")
    draft.refuse("q", ValueError())
    draft.clear()
    assert not draft.images and not draft.texts and draft.refusal is None and draft.frames
    dropped = asyncio.create_task(forever.wait())
    draft.images.append(dropped)
    draft.discard()
    await asyncio.sleep(0)
    assert dropped.cancelled() and not taken.done() and not draft.images and not draft.frames
    forever.set()
    await taken
