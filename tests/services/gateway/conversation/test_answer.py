"""An answer as it was delivered and played."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.gateway.conversation.answer import Answer
from services.gateway.conversation.told import Told
from services.gateway.events import AudioDelta, TextDelta

RATE = 24_000  # Hz


def spoken(text: str = "one two three", samples: int = 3000) -> Answer:
    answer = Answer(text=text)
    answer.add_audio(samples, RATE, text)
    return answer


def test_marks_say_which_characters_were_spoken_when():
    answer = Answer(text="one two")
    answer.add_audio(1000, RATE, "one")
    answer.add_audio(500, RATE, "one two and what was never written")
    assert answer.marks == [(1000, 3), (1500, 7)]
    assert answer.audio_seconds == 1500 / RATE and Answer().audio_seconds == 0


def test_an_answer_is_played_as_the_client_says_or_by_the_clock(monkeypatch):
    answer = spoken()
    assert answer.being_played and not Answer().being_played
    played = answer.first_audio + answer.audio_seconds
    monkeypatch.setattr(time, "monotonic", lambda: played)
    assert not answer.being_played
    answer.set_played(1000)
    assert answer.being_played
    answer.set_played(500)  # a late message does not take back what was played
    assert answer.played == 1000
    answer.stop_playing()
    assert not answer.being_played


def test_what_was_never_sent_was_not_played():
    answer = spoken()
    answer.set_played(2**62)
    assert answer.played == 3000 and not answer.being_played
    answer.add_audio(1000, RATE, answer.text)
    assert answer.being_played, "the rest is still to be played"
    assert answer.item("t", whole=False).played == 3000


def test_an_answer_told_by_a_machine_whose_clock_is_ahead_was_not_played_a_negative_time():
    told = Told("t", marks=[(3000, 13)], first_audio=time.time() + 3600)
    told.bodies = {"TextDelta": TextDelta("one two three"), "AudioDelta": AudioDelta(b"", RATE, 3000)}
    assert 0 <= Answer.of(told, spoken=True).item("t", whole=False).played < 1000


async def test_the_playback_report_is_waited_for_once():
    answer = spoken()
    await answer.playback_report(60)  # of a client that never says: not at all
    answer.set_played(1000)
    answer.expect_playback_report()
    waiting = asyncio.create_task(answer.playback_report(60))
    await asyncio.sleep(0)
    assert not waiting.done()
    answer.set_played(1200)
    await waiting
    answer.expect_playback_report()
    await asyncio.wait_for(answer.playback_report(60), 1)  # it has been waited for


async def test_a_report_that_does_not_come_is_given_up():
    answer = spoken()
    answer.set_played(1)
    answer.expect_playback_report()
    await answer.playback_report(0.01)
    assert answer.played == 1


@pytest.mark.parametrize("answer", [Answer(), Answer(text="written, not spoken yet"), Answer(spoken=False)])
def test_what_was_not_delivered_is_no_item(answer):
    assert answer.item("t", whole=False) is None


def test_a_written_answer_is_kept_as_it_is():
    item = Answer(spoken=False, text="hi").item("t", whole=False)
    assert (item.id, item.role, item.turn_id, item.text) == ("item_t_a", "assistant", "t", "hi")
    assert item.marks == [] and item.played is None


def test_how_far_an_answer_counts_as_played():
    answer = spoken()
    assert answer.item("t", whole=True).played is None  # all of it
    answer.first_audio -= 0.05  # seconds: a client that never says plays from the first audio on
    assert 0.05 * RATE <= answer.item("t", whole=False).played <= 3000
    answer.first_audio -= 60
    assert answer.item("t", whole=False).played == 3000
    answer.set_played(7)
    assert [answer.item("t", whole).played for whole in (True, False)] == [7, 7]
    answer_item = answer.item("t", whole=True)
    assert answer_item.marks == [(3000, 13)] and answer_item.marks is not answer.marks
