"""What the soak benchmark counts: growth, turns, wrong answers; what each process holds; and its picture."""

from __future__ import annotations

import os
import time

import pytest
from PIL import Image

from benchmarks.process_samples import Sample, Sampler
from benchmarks.soak import gone_wrong, growth_rows, missed, talk_counts
from benchmarks.soak_checks import difference
from benchmarks.soak_figure import draw
from cli.client import Answer
from protos.parley.v1 import conversation_pb2 as wire


def samples(gateway: list[float], valkey: list[float], descriptors: list[int]) -> list[Sample]:
    """One a minute."""
    return [
        Sample(60.0 * number, {"gateway": big, "valkey": small}, {"gateway": held, "valkey": 20})
        for number, (big, small, held) in enumerate(zip(gateway, valkey, descriptors, strict=True))
    ]


def facts(**changes) -> dict:
    talk = {"turns": 100, "unanswered": 0, "late": 7, "interrupted": 20, "errors": 0, "turned_away": 0}
    clean = {name: {"wrong": []} for name in ("checks", "bad_input", "microphones")}
    return {"talk": talk, "processes": [], **clean, **changes}


def test_growth_is_that_after_the_time_to_settle():
    flat = growth_rows(samples([100, 200, 200, 201, 200, 201, 200], [9] * 7, [90, 99, 100, 100, 100, 100, 101]), 60.0)
    assert [row["process"] for row in flat] == ["gateway", "valkey"]
    assert missed(facts(processes=flat)) == []
    leaking = growth_rows(samples([100, 200, 202, 204, 206, 208, 210], [9] * 7, list(range(100, 107))), 60.0)
    assert leaking[0]["memory_growth"] == pytest.approx(0.05)
    assert missed(facts(processes=leaking)) == ["gateway: memory 200 → 210", "gateway: descriptors 101 → 106"]


def test_a_small_process_may_grow_by_less_than_a_page_of_work():
    rows = growth_rows(samples([200] * 7, [9, 9, 9, 9, 9.5, 9.8, 10.4], [100] * 7), 60.0)
    assert missed(facts(processes=rows)) == []


def test_what_the_talkers_report_is_counted():
    turn = {"what": "turn", "answered": True, "first_audio": 0.5, "underruns": 0, "interrupted": False}
    events = [turn, turn | {"interrupted": True}, turn | {"underruns": 2}, turn | {"answered": False}]
    events += [{"what": "open"}] * 5 + [{"what": "error"}]
    counts = talk_counts(events, 2)
    assert (counts["turns"], counts["unanswered"], counts["late"], counts["interrupted"]) == (4, 1, 1, 1)
    assert (counts["reconnected"], counts["errors"]) == (3, 1)
    assert missed(facts(talk=counts)) == ["1 unanswered", "1 errors"]


def test_what_went_wrong_is_told_with_when_and_whose_it_was():
    events = [
        {"what": "open", "talker": 3, "at": 100.0},
        {"what": "turn", "talker": 3, "at": 101.0, "answered": True},
        {"what": "turn", "talker": 3, "at": 102.0, "answered": False, "events": ["input_audio_buffer.committed"]},
        {"what": "turn", "talker": 3, "at": 102.5, "answered": False, "events": []},
        {"what": "error", "talker": 4, "at": 103.5, "message": "it is full"},
    ]
    told = [(each["talker"], each["at"], each["says"]) for each in gone_wrong(events)]
    assert told == [
        (3, 2.0, "no answer, after input_audio_buffer.committed"),
        (3, 2.5, "no answer, after no event"),
        (4, 3.5, "it is full"),
    ]


@pytest.mark.parametrize("name", ["checks", "bad_input", "microphones"])
def test_whatever_was_wrong_misses_the_aim(name):
    assert missed(facts(**{name: {"wrong": ["ask: said nothing"]}})) == [f"{name}: ask: said nothing"]


def test_an_answer_is_wrong_that_differs_fails_or_is_short():
    known = Answer(transcript="what is it", text="a red ball", audio=bytes(48_000), sample_rate=24_000)
    assert difference(known, known) == ""
    assert "said 'a blue ball'" in difference(Answer("", "what is it", text="a blue ball"), known)
    short = Answer("", "what is it", text="a red ball", audio=bytes(30_000), sample_rate=24_000)
    assert "0.62 s of audio, not 1.00" in difference(short, known)
    failed = Answer(error=wire.ErrorEvent(code="UNAVAILABLE", message="gone"))
    assert difference(failed, known) == "UNAVAILABLE: gone"


def test_samples_are_of_the_living_process(tmp_path):
    first = Sample.of(os.getpid())
    held = [(tmp_path / str(number)).open("w") for number in range(20)]
    with Sampler(os.getpid(), 0.05) as sampler:
        time.sleep(0.2)
    last = sampler.samples[-1]
    (name,) = [name for name in last.memory if last.memory[name] == max(last.memory.values())]
    assert last.total >= last.memory[name] > 10
    assert last.descriptors[name] >= first.descriptors[name] + 19
    for each in held:
        each.close()


def test_processes_that_have_ended_hold_nothing():
    assert Sample.of(2**22 + 1).total == 0


def test_the_picture_is_drawn(tmp_path):
    draw(samples([200] * 7, [9] * 7, [100] * 7), 60.0, tmp_path / "soak.png")
    assert Image.open(tmp_path / "soak.png").width == 880
