"""The filter bank against Kaldi's values, and an utterance in pieces against the whole."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from parley.config import preset
from parley.models.filter_bank import MelFrames, fbank

FIXTURE = Path(__file__).parents[2] / "fixtures" / "vita15-tiny" / "expected.safetensors"
CONFIG = preset("vita-7b").speech


def test_features_are_kaldis():
    expected = load_file(FIXTURE)
    features = fbank(expected["speech.waveform"], CONFIG)
    assert features.shape == (228, 80)
    torch.testing.assert_close(features, expected["speech.fbank"], rtol=0, atol=1e-3)


def test_features_of_less_than_a_window_and_of_stereo():
    assert fbank(np.zeros(399, np.float32), CONFIG).shape == (0, 80)
    assert fbank(np.zeros(400, np.float32), CONFIG).shape == (1, 80)
    with pytest.raises(ValueError, match="one channel"):
        fbank(np.zeros((2, 400), np.float32), CONFIG)


@pytest.mark.parametrize("piece", [1, 159, 1600, 5000])
def test_an_utterance_has_the_same_frames_however_it_is_cut(piece):
    samples = (0.1 * np.random.default_rng(0).standard_normal(9999)).astype(np.float32)
    mel = MelFrames(CONFIG)
    pieces = [mel.feed(samples[start : start + piece]) for start in range(0, len(samples), piece)]
    assert torch.cat(pieces).equal(fbank(samples, CONFIG))
    assert mel.feed(samples[:0]).shape == (0, 80)
