"""Streams at another rate: as good as soxr's, piece by piece, and held back for hardly anything."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from services.gateway.media.resampler import Resampler

RATES = [(24_000, 16_000), (48_000, 16_000), (8_000, 16_000), (24_000, 8_000), (22_050, 24_000)]


def streamed(samples: np.ndarray, source: int, target: int, size: int) -> np.ndarray:
    """So many samples at a time."""
    resampler = Resampler(source, target)
    pieces = [resampler.feed(samples[at : at + size].astype("<i2").tobytes()) for at in range(0, len(samples), size)]
    return np.frombuffer(b"".join(pieces) + resampler.flush(), "<i2")


def decibels(signal: np.ndarray, than: np.ndarray) -> float:
    return 10 * np.log10(np.mean(signal.astype(float) ** 2) / np.mean(than.astype(float) ** 2))


@pytest.mark.parametrize(("source", "target"), RATES)
def test_what_both_rates_carry_is_as_soxr_has_it(source, target):
    noise = np.random.default_rng(0).normal(0, 3000, source)
    carried = soxr.resample(soxr.resample(noise, source, 0.8 * min(source, target)), 0.8 * min(source, target), source)
    samples = np.round(carried[:source]).astype("<i2")
    ours, theirs = streamed(samples, source, target, source // 25), soxr.resample(samples.astype(float), source, target)
    assert len(ours) == target
    inner = slice(target // 20, -target // 20)  # at the edges the two differ in what they take to be outside
    assert decibels(theirs[inner], ours[inner] - theirs[inner]) > 60


@pytest.mark.parametrize(("source", "target"), [(24_000, 16_000), (48_000, 16_000), (24_000, 8_000)])
def test_what_the_new_rate_cannot_carry_is_gone(source, target):
    tone = np.round(8000 * np.sin(2 * np.pi * 0.65 * target * np.arange(source) / source))
    assert decibels(tone, streamed(tone, source, target, 960)[500:-500]) > 60


@pytest.mark.parametrize(("source", "target"), RATES)
def test_the_sizes_of_the_pieces_do_not_matter(source, target):
    noise = np.random.default_rng(0).normal(0, 3000, source // 10)
    whole = streamed(noise, source, target, len(noise))
    for size in (1, 7, 480):
        np.testing.assert_array_equal(streamed(noise, source, target, size), whole)


@pytest.mark.parametrize(("source", "target"), [(24_000, 16_000), (48_000, 16_000), (8_000, 16_000)])
def test_hardly_anything_is_held_back(source, target):
    resampler, out = Resampler(source, target), 0
    for number in range(1, 26):
        out += len(resampler.feed(bytes(2 * source // 25))) // 2
        assert number / 25 - out / target < 0.0025


def test_loud_samples_are_bounded_and_silence_stays_silent():
    loud = streamed(np.where(np.arange(4800) % 40 < 20, 32767, -32768), 24_000, 16_000, 960)
    assert loud.max() == 32767 and loud.min() == -32768
    assert not streamed(np.zeros(4800), 24_000, 16_000, 960).any()
    assert not len(streamed(np.zeros(0), 24_000, 16_000, 960))


@pytest.mark.parametrize(("source", "target"), RATES)
def test_silence_between_sounds_is_as_long_as_it_was(source, target):
    sound = np.random.default_rng(0).normal(0, 3000, source // 7)
    samples = np.concatenate([np.zeros(source // 3), sound, np.zeros(source // 2), sound, np.zeros(9)])
    whole = streamed(samples, source, target, len(samples))  # nothing of it is skipped
    for size in (source // 100, source // 25 + 1):
        # As long, and the same but for how a processor rounds sums of another order.
        np.testing.assert_allclose(streamed(samples, source, target, size), whole, rtol=0, atol=1)


def test_what_comes_after_a_flush_is_another_stream():
    noise = np.random.default_rng(0).normal(0, 3000, 4801).astype("<i2").tobytes()
    resampler = Resampler(24_000, 16_000)
    first = resampler.feed(noise) + resampler.flush()
    assert resampler.feed(noise) + resampler.flush() == first
