"""What the load benchmark counts: a player's gaps, a sentence's last voiced sample, a level's row; and its picture."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from PIL import Image

from benchmarks.clip import Clip
from benchmarks.load import Level, keeps_real_time, most_served
from benchmarks.load_figure import draw
from benchmarks.player import Player
from benchmarks.workload import small_talk_clips


def player(*arrivals: tuple[float, float]) -> Player:
    """That was given audio: (when, seconds)."""
    played = Player()
    for at, seconds in arrivals:
        played.add(seconds, at)
    return played


def test_audio_that_comes_before_it_is_needed_has_no_gap():
    played = player((10.0, 0.5), (10.4, 0.5), (10.9, 0.5))
    assert (played.underruns, played.gap, played.received) == (0, 0.0, 1.5)
    assert played.ends == pytest.approx(11.5)
    assert played.played(10.75) == pytest.approx(0.75)


def test_a_player_starts_with_its_buffer_only():
    played = player((10.0, 0.05))
    assert played.ends == 0.0 and played.played(11.0) == 0.0
    played.add(0.05, 10.3)
    assert played.ends == pytest.approx(10.4)


def test_the_end_of_a_short_answer_starts_it():
    played = player((10.0, 0.05))
    played.finish(10.2)
    assert played.ends == pytest.approx(10.25)


def test_a_gap_lasts_until_the_buffer_is_there_again():
    played = player((10.0, 0.2), (10.5, 0.04), (10.7, 0.06))
    assert played.underruns == 1
    assert played.gap == pytest.approx(0.5)  # from 10.2 to 10.7
    assert played.ends == pytest.approx(10.8)
    assert played.played(20.0) == pytest.approx(0.3)


def test_every_gap_counts():
    assert player((10.0, 0.2), (10.5, 0.2), (11.0, 0.2)).underruns == 2


def test_the_last_voiced_sample_is_that_of_the_clean_sentence(tmp_path):
    for clip in islice(small_talk_clips(3, 24_000), 4):
        first, last = clip.voiced
        assert 0 < first < last < len(clip.audio)
        loud = np.abs(clip.audio[first : last + 1].astype(int))
        tail = np.abs(clip.audio[last + 1 :].astype(int))
        assert loud.max() > 10 * tail.max()
        clip.save(tmp_path / "clip.npz")
        again = Clip.load(tmp_path / "clip.npz")
        assert (again.text, again.sample_rate, again.voiced) == (clip.text, 24_000, clip.voiced)
        np.testing.assert_array_equal(again.audio, clip.audio)


def turn(talker: int, **facts) -> dict:
    answered = {"answered": True, "interrupted": False, "interrupting": False, "noticed": 0.3, "first_audio": 0.5}
    return {
        "what": "turn",
        "talker": talker,
        "at": 1.0,
        **answered,
        "audio_s": 2.0,
        "generated_s": 1.0,
        "underruns": 0,
    } | facts


def level(*events: dict, sessions: int = 2) -> Level:
    return Level(sessions, 10.0, list(events), {"llm_core": 5.0, "gateway": 2.5}, {"total": 1000.0}, 1.0)


def test_a_row_leaves_out_the_first_turn_of_each_talker():
    row = level(
        turn(0, first_audio=9.0),
        turn(1, first_audio=9.0),
        turn(0, underruns=2),
        turn(1, first_audio=0.7, interrupting=True),
        turn(0, answered=False),
        {"what": "refused", "talker": 3, "at": 2.0},
    ).row()
    assert (row["turns"], row["unanswered"], row["refused"], row["errors"]) == (3, 1, 1, 0)
    assert (row["first_audio_p50"], row["first_audio_p95"], row["noticed_p50"]) == (500, 700, 300)
    assert (row["underruns"], row["real_time_p95"], row["cores"], row["memory_mb"]) == (0.5, 0.5, 0.75, 1000.0)


def test_what_can_be_served_is_the_most_that_kept_real_time():
    good, late = level(turn(0), turn(0)).row(), level(turn(0), turn(0, first_audio=3.0), sessions=4).row()
    assert keeps_real_time(good) and not keeps_real_time(late)
    assert most_served([good, late]) == 2
    assert most_served([late]) == 1


def test_the_picture_is_drawn(tmp_path):
    rows = [level(turn(0), turn(0), sessions=sessions).row() for sessions in (1, 4)]
    processes = [{"sessions": sessions, "memory_mb": {"llm_core": 300.0, "total": 400.0}} for sessions in (1, 4)]
    facts = {"levels": rows, "processes": processes}
    draw(facts, tmp_path / "load.png")
    assert Image.open(tmp_path / "load.png").width == 960
