"""Augmentation changes how words sound and keeps them."""

import numpy as np
import pytest

from training.data.augment import augment, mask, stretch, warp

RNG = np.random.default_rng(0)


def ramp(frames: int, bins: int = 80) -> np.ndarray:
    return np.add.outer(np.arange(frames), np.arange(bins) / 100).astype(np.float32)


@pytest.mark.parametrize("length", [0.5, 0.77, 1.0, 1.4])
def test_stretching_keeps_begin_and_end(length):
    features = ramp(100)
    changed = stretch(features, length)
    assert len(changed) == round(100 * length)
    np.testing.assert_allclose(changed[[0, -1]], features[[0, -1]], atol=1e-3)
    np.testing.assert_allclose(np.diff(changed[:, 0]), 99 / (len(changed) - 1), rtol=1e-3)


def test_warping_moves_bins():
    features = np.zeros((5, 80), np.float32)
    features[:, 40] = 1.0
    assert warp(features, 1.0).argmax(1).tolist() == [40] * 5
    assert warp(features, 0.8).argmax(1).tolist() == [50] * 5
    assert warp(features, 1.25).argmax(1).tolist() == [32] * 5


def test_masks_are_light_and_filled():
    features = ramp(100) + 1.0
    fill = np.full(80, -7.0, np.float32)
    mask(features, fill, np.random.default_rng(4))
    hidden = features == -7.0
    assert 0 < hidden.mean() < 0.5
    assert ((features > 0) | hidden).all()


def test_enough_frames_are_left_for_the_text():
    features, fill = ramp(100), np.zeros(80, np.float32)
    lengths = [len(augment(features, fill, np.random.default_rng(i), fewest=90)) for i in range(50)]
    assert min(lengths) >= 90 and max(lengths) > 120
    assert len(augment(features, fill, RNG, fewest=500)) >= 100


def test_no_strength_changes_nothing_and_the_seed_decides():
    features, fill = ramp(100), np.zeros(80, np.float32)
    np.testing.assert_allclose(augment(features, fill, np.random.default_rng(1), strength=0.0), features, atol=1e-4)
    a, b = (augment(features, fill, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(a, b) and a.dtype == np.float32
