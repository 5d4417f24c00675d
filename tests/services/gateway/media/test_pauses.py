"""Recordings are cut in pauses; nothing of them is lost; no piece is too long."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from services.gateway.media.pauses import split

RATE = 16_000
RNG = np.random.default_rng(0)


def speech(seconds: float) -> np.ndarray:
    return RNG.normal(0, 3000, int(seconds * RATE)).astype(np.int16)


def silence(seconds: float) -> np.ndarray:
    return RNG.normal(0, 20, int(seconds * RATE)).astype(np.int16)


def seconds_of(spans) -> list[tuple[float, ...]]:
    return [tuple(round(x / RATE, 2) for x in (s.start, s.end, s.first, s.last)) for s in spans]


def test_it_is_cut_in_the_middle_of_a_pause_and_tells_where_the_sound_is():
    samples = np.concatenate([silence(1), speech(4), silence(1), speech(5), silence(0.5)])
    assert seconds_of(split(samples, RATE, 30)) == [(0.0, 5.5, 1.0, 5.0), (5.5, 11.5, 6.0, 11.0)]


def test_short_pauses_and_short_pieces_are_not_cut():
    samples = np.concatenate([speech(4), silence(0.2), speech(4), silence(1), speech(1)])
    assert [span[:2] for span in seconds_of(split(samples, RATE, 30))] == [(0.0, 9.2 + 1)]


def test_speech_without_pauses_is_cut_at_its_quietest_moment():
    samples = np.concatenate([speech(20), silence(0.1), speech(30)])
    spans = split(samples, RATE, 30)
    assert spans[0].end == pytest.approx(20.05 * RATE, abs=0.06 * RATE)


@pytest.mark.parametrize("seconds", [0.01, 0.5, 29.99, 30.01, 31, 62, 300.013])
def test_the_pieces_are_all_of_it_and_none_is_too_long_or_too_short(seconds):
    samples = speech(seconds)
    spans = split(samples, RATE, 30)
    assert spans[0].start == 0 and spans[-1].end == len(samples)
    assert all(a.end == b.start for a, b in pairwise(spans))
    lengths = [(span.end - span.start) / RATE for span in spans]
    assert max(lengths) <= 30 and (len(spans) == 1 or min(lengths) >= 2.9)


def test_silence_is_one_piece():
    (span,) = split(np.zeros(5 * RATE, np.int16), RATE, 30)
    assert (span.start, span.end) == (0, 5 * RATE)
