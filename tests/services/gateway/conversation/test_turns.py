"""Which turn is asked, which answers, and which one a new question may interrupt."""

from __future__ import annotations

import asyncio

import pytest

from services.gateway.conversation.turns import Turns


class FakeTurn:
    """What `Turns` asks of a turn; `end` ends it."""

    def __init__(self, name: str, previous: FakeTurn | None):
        self.id, self.previous = name, previous
        self.asked = self.over = self.being_played = False
        self.cancelled = 0
        self._ended = asyncio.Event()
        self.task = asyncio.create_task(self._ended.wait())

    @property
    def answer(self) -> FakeTurn:
        return self

    def mark_ended(self) -> None:
        self.asked = True

    def stop(self) -> None:
        self.cancelled += 1

    def forget_previous(self) -> None:
        pass

    async def end(self) -> None:
        self.over = True
        self._ended.set()
        await self.task
        await asyncio.sleep(0)


class BargeIn:
    def __init__(self) -> None:
        self.turn_id = ""

    def begin(self, turn_id: str) -> None:
        self.turn_id = turn_id


class Policy:
    def __init__(self) -> None:
        self.asked = []

    def on_question(self, before, detected, kind):
        self.asked.append((before, detected))
        return BargeIn() if detected else None

    def on_voice(self, before, kind):
        self.asked.append((before, kind))


@pytest.fixture
def policy() -> Policy:
    return Policy()


@pytest.fixture
def ended() -> list:
    return []


@pytest.fixture
def turns(policy, ended) -> Turns:
    return Turns(policy, lambda: ended.append(1))


def begin(turns: Turns, name: str, detected: bool = False, asked: bool = True) -> FakeTurn:
    given = []

    def make(before, barge_in):
        given.append((before, barge_in))
        return FakeTurn(name, before)

    turn = turns.begin(make, detected)
    barge_in = given[0][1]
    assert barge_in.turn_id == name if detected else barge_in is None
    turn.asked = asked
    return turn


async def test_before_the_first_question_nothing_happens(turns):
    assert not (turns.busy or turns.listening or turns.answering or turns.end_failed_question())
    assert turns.answered is None and turns.find("x") is None
    turns.cancel()
    await turns.wait()


async def test_a_turn_listens_until_it_is_asked_and_answers_until_it_is_played(turns, ended):
    turn = begin(turns, "a", asked=False)
    assert turns.listening and turns.busy and not turns.answering
    turn.asked = True
    assert turns.answering and not turns.listening
    waiting = asyncio.create_task(turns.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    turn.being_played = True
    await turn.end()
    await waiting
    assert not turns.busy and ended == [1] and turns.answering  # the client still plays it
    turn.being_played = False
    assert not turns.answering


async def test_the_policy_is_asked_about_the_answer_that_is_being_given(turns, policy):
    answer = begin(turns, "a")
    cough = begin(turns, "b", detected=True)
    assert turns.find("a") is answer and turns.find("b") is cough and turns.find("c") is None
    await cough.end()  # it was no question: the answer goes on
    assert turns.answered is answer and turns.answering
    begin(turns, "c")
    assert policy.asked == [(None, False), (answer, True), (answer, False)]
    turns.newest.previous = None  # it has taken over
    await turns.newest.end()
    assert turns.answered is turns.newest


async def test_speech_that_may_begin_may_interrupt_what_a_question_would(turns, policy):
    answer = begin(turns, "a")
    cough = begin(turns, "b", detected=True)
    turns.voice("state")
    await cough.end()
    turns.voice()
    assert policy.asked[2:] == [(cough, "state"), (answer, None)]


async def test_cancel_stops_the_newest_turn_and_the_answer(turns):
    answer = begin(turns, "a")
    cough = begin(turns, "b", detected=True)
    await cough.end()
    turns.cancel()
    assert answer.cancelled and cough.cancelled


async def test_a_question_that_failed_while_it_was_spoken_ends_once(turns):
    turn = begin(turns, "a", asked=False)
    assert not turns.end_failed_question()
    turn.over = True
    assert turns.end_failed_question() and not turns.end_failed_question() and turn.asked


async def test_a_turn_that_broke_has_ended(turns, ended):
    turn = begin(turns, "a")

    async def broken():
        raise RuntimeError("a bug")

    turn.task.cancel()
    other = FakeTurn("b", None)
    other.task.cancel()
    other.task = asyncio.create_task(broken())
    turns.begin(lambda before, barge_in: other, detected=False)
    await turns.wait()
    await asyncio.sleep(0)
    assert not turns.busy and len(ended) == 2
