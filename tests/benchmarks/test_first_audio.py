"""What the first-audio benchmark counts: the clock of a question, cuts, rows, the rate that is kept, arrivals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import first_audio_users
from benchmarks.clip import Clip, Dialogue
from benchmarks.first_audio import compare
from benchmarks.first_audio_client import Crowd, Reports, converse
from benchmarks.first_audio_level import Level
from benchmarks.first_audio_open_loop import rates
from benchmarks.first_audio_published import Answered, levels_of
from benchmarks.first_audio_talk import FIXED, HANDS_FREE, MANUAL, PARTS, SETTLE_SECONDS, Asked
from benchmarks.first_audio_users import Dialogues, Users
from benchmarks.published_order import DetectedEnd, PublishedDialogue, PublishedTurn, detect_end
from benchmarks.workload import dialogues
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.usage_pb2 import FINISH_REASON_CANCELLED, FINISH_REASON_STOP
from services.gateway.media.detector import Detector
from services.gateway.settings import VadSettings

CLIP = Clip("where is it?", np.zeros(32_000, "<i2"), 16_000, (1600, 16_000), "pause", 0.5)
BEGAN = 10.0  # its last sound is at 11.0


def event(turn: str, **fields) -> wire.ServerEvent:
    return wire.ServerEvent(turn_id=turn, **fields)


def audio(turn: str, seconds: float = 0.2) -> wire.ServerEvent:
    return event(turn, audio=wire.AudioDelta(audio=b"\0" * round(48_000 * seconds), sample_rate=24_000))


def done(turn: str, reason: int = FINISH_REASON_STOP) -> wire.ServerEvent:
    latency = wire.Latency(first_audio=0.6, end_of_turn=0.5, speech_decoder=0.1)
    return event(turn, done=wire.TurnDone(finish_reason=reason, latency=latency))


def asked(*events: tuple[float, wire.ServerEvent]) -> Asked:
    question = Asked(CLIP, BEGAN)
    for at, each in events:
        question.take(each, at)
    return question


STARTED, STOPPED = {"speech_started": wire.SpeechStarted()}, {"speech_stopped": wire.SpeechStopped()}


def test_the_clock_of_a_question_begins_with_its_last_sound():
    question = asked(
        (10.3, event("a", **STARTED)),
        (11.5, audio("of an earlier question")),
        (11.6, event("a", **STOPPED)),
        (11.7, audio("a")),
        (11.8, done("a")),
    )
    facts = question.facts()
    assert not question.cut and facts["answered"] and facts["reasons"] == ["stop"]
    assert facts["first_audio"] == pytest.approx(0.7) and facts["stopped"] == pytest.approx(0.6)
    assert facts["rest"] == pytest.approx(0.1) and facts["parts"]["end_of_turn"] == 0.5
    json.dumps(facts)
    assert not question.settled(11.85)  # it is still played
    assert question.settled(11.91)


def test_a_question_that_was_answered_in_its_pause_is_cut():
    question = asked(
        (10.2, event("a", **STARTED)),
        (10.8, event("a", **STOPPED)),
        (10.9, audio("a")),
        (11.2, event("b", **STARTED)),
        (11.3, done("a", FINISH_REASON_CANCELLED)),
    )
    assert question.cut
    assert not question.settled(13.0)  # the rest of it is a question of its own
    question.take(event("b", **STOPPED), 13.0)
    question.take(audio("b"), 13.1)
    question.take(done("b"), 13.2)
    assert question.settled(13.4) and question.facts()["first_audio"] == pytest.approx(2.1)


def test_a_question_without_an_answer_has_no_time():
    question = asked((10.2, event("a", **STARTED)))
    assert question.facts()["first_audio"] is question.facts()["rest"] is None and not question.settled(30.0)
    assert not asked().settled(30.0)
    early = asked((10.2, event("a", **STARTED)), (10.4, done("a")))
    assert not early.settled(11.0 + SETTLE_SECONDS) and early.settled(11.01 + SETTLE_SECONDS)


def said(first: float | None, kind: str = "plain", pause: float = 0.0, cut: bool = False) -> dict:
    parts, answered = dict.fromkeys(PARTS, 0.1), {"answered": first is not None, "first_audio": first}
    facts = {"kind": kind, "pause": pause, "whole_before": pause > 0.5, "cut": cut, **answered}
    return facts | {"parts": parts, "rest": 0.01, "underruns": 0}


def test_a_row_leaves_out_what_was_cut():
    questions = [said(0.3), said(0.5, "trail"), said(-0.2, "pause", 0.7, cut=True), said(None, "pause", 0.3)]
    cpu = {"llm_core": 1.0, "services.gateway": 0.5, "raylet": 0.5}
    level = Level("services", HANDS_FREE, 1, questions, 1, cpu, 2.0)
    row = level.row()
    assert (row["first_audio_p50"], row["first_audio_p95"], row["end_of_turn"]) == (300, 500, 100)
    assert (row["cut"], row["questions"], row["unanswered"], row["errors"], row["discarded"]) == (1, 4, 1, 1, 2)
    assert row["cpu_ms"] == 500
    assert level.felt() == [300, 500, math.inf, math.inf]
    use = level.use()
    assert (use["llm_core"], use["services.gateway"], use["others"], use["all"]) == (250, 125, 125, 500)
    manners = {row["said"]: row for row in level.manners()}
    assert manners["pause"]["cut_share"] == 0.5 and manners["pause 0.6–0.8 s"]["cut"] == 1
    assert manners["pause inside"]["cut"] == 0 and manners["pause after a whole one"]["cut_share"] == 1
    assert "pause 0.4–0.6 s" not in manners and manners["trail"]["first_audio_p50"] == 500


def test_orders_are_compared_at_the_fewest_sessions():
    orders = {"services": 0.3, "one process": 0.2, "published, whole": 0.9}
    rows = [Level(order, HANDS_FREE, 1, [said(first)]).row() for order, first in orders.items()]
    rows.append(Level("services", MANUAL, 4, [said(9.0)]).row())
    ratios = compare(rows)
    assert ratios["hands-free: services cost, first_audio_p50"] == 100
    assert ratios["hands-free: times sooner than published, whole"] == 3


@pytest.mark.parametrize(
    ("bound", "found"),
    [(1.3, (1.25, 1.375)), (0.2, (0.1875, 0.203125)), (100, (16, math.inf)), (0, (0, 0.015625))],
)
def test_the_rate_that_is_kept_is_enclosed(bound, found):
    assert rates(lambda rate: rate <= bound, first=0.5, steps=6) == found


class FakeTalk:
    """Takes half a second of the test's clock, a hundredth of the real one, for an answer."""

    open_now, most, opened = 0, 0, 0

    def __init__(self, fails: bool = False):
        self._fails = fails
        self.microphone = SimpleNamespace(late=0.001)

    @contextlib.asynccontextmanager
    async def open(self):
        if self._fails:
            raise ConnectionError("refused")
        FakeTalk.opened += 1
        yield self

    async def ask(self, clip: Clip, picture: bytes):
        await asyncio.sleep(0.01)
        return asked((10.3, event("a", **STARTED)), (11.7, audio("a")), (11.8, done("a")))


async def test_questions_come_by_chance_and_users_go_on_with_their_dialogues():
    FakeTalk.opened, events = 0, []
    spoken = [Dialogue(b"picture", [CLIP] * 6)] * 40
    crowd = Crowd(lambda number: FakeTalk(fails=number == 1), spoken, Reports(events.append))
    async with asyncio.timeout(5):
        await crowd.run(100.0, 0.3, random.Random(0))
    questions = [each for each in events if each["what"] == "question"]
    rng, due, arrived = random.Random(0), 0.0, 0
    while (due := due + rng.expovariate(100.0)) < 0.3:
        arrived += 1
    assert len(events) == arrived and len(events) - len(questions) == 1  # each is asked, or its connection was refused
    assert arrived / 6 <= FakeTalk.opened + 1 < arrived


async def test_a_user_whose_connection_fails_goes_on_with_the_next_dialogue(monkeypatch):
    monkeypatch.setattr("benchmarks.first_audio_client.PAUSE", (0.0, 0.0))
    events = []
    spoken = [Dialogue(b"picture", [CLIP] * 2)] * 3
    await converse(lambda seed: FakeTalk(fails=seed == 7), spoken, 3, 7, Reports(events.append))
    assert [each["what"] for each in events] == ["error", *3 * ["question"]]
    assert events[0]["message"] == "refused"


async def test_the_published_order_waits_for_silence_as_the_gateway_does():
    detector, clips = Detector(), {clip.kind: clip for clip in next(dialogues(0)).clips}
    plain = await detect_end(clips["plain"], VadSettings(), detector)
    assert 0.5 < plain.wait < 0.8 and not plain.cut
    assert (await detect_end(clips["pause"], VadSettings(end_seconds=0.1), detector)).cut
    with pytest.raises(ValueError, match="no end of"):
        await detect_end(clips["plain"], VadSettings(end_seconds=9.0), detector)
    detector.stop()


def test_the_published_order_has_its_wait_in_hands_free_turns():
    answered = [Answered(CLIP, DetectedEnd(0.6, cut), PublishedTurn(0.1, 0.2, 0.3)) for cut in (False, True)]
    first, whole = (level.row() for level in levels_of(HANDS_FREE, 2, answered))
    assert (first["first_audio_p50"], whole["first_audio_p50"]) == (pytest.approx(800), pytest.approx(900))
    assert (first["cut"], first["questions"]) == (1, 2)
    manual = levels_of(MANUAL, 2, answered)[0].row()
    assert (manual["first_audio_p50"], manual["cut"]) == (pytest.approx(200), 0)


def test_the_published_order_reads_what_was_said_before_as_text():
    said = PublishedDialogue(b"png")
    said.add("where is it?", "at the top.")
    question = said.question({"type": "audio", "audio": np.zeros(4, np.float32)})
    assert [part["type"] for part in said.messages[0]["content"]] == ["image", "text"]
    assert [part["type"] for part in question["content"]] == ["audio"]


def test_another_picture_for_each_number_of_users_the_same_for_each_order(tmp_path):
    made = Dialogues(tmp_path, ("plain",))
    first, again, manual = made.of(HANDS_FREE, 1, 2), made.of(FIXED, 1, 2), made.of(MANUAL, 1, 2)
    assert first == again and len(list(first.iterdir())) == 2
    pictures = {(folder / "000" / "picture.png").read_bytes() for folder in (first, manual)}
    assert len(pictures) == 2


def test_discarded_answers_are_read_from_the_gateway(monkeypatch):
    page = '# TYPE parley_answers_discarded_total counter\nparley_answers_discarded_total{reason="speech"} 3.0\n'
    pages = iter([page.encode(), b"# nothing\n"])
    monkeypatch.setattr(first_audio_users, "fetch", lambda url, seconds: next(pages))
    users = Users("127.0.0.1:1", SimpleNamespace(http="127.0.0.1:2", supervisor_pid=1), 8)
    assert users._discarded() == 3.0 and users._discarded() is None
    assert Users("127.0.0.1:1", None, 8)._discarded() is None
