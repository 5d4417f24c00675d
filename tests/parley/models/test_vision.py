"""Vision encoder and adapter: the pixel shuffle, sizes."""

from __future__ import annotations

import pytest
import torch

from parley.config import preset
from parley.models.vision import VisionAdapter, VisionEncoder, pixel_shuffle

NANO = preset("nano").vision


def test_pixel_shuffle_joins_neighbours() -> None:
    # Patch (row, column) of a 4×4 grid carries its own number twice.
    patches = torch.arange(16.0).reshape(1, 16, 1).repeat(1, 1, 2)
    tokens = pixel_shuffle(patches, 2)
    assert tokens.shape == (1, 4, 8)
    assert tokens[0, 1].tolist() == [2, 2, 3, 3, 6, 6, 7, 7]
    assert tokens[0, 2].tolist() == [8, 8, 9, 9, 12, 12, 13, 13]


def test_encoder_and_adapter_give_the_promised_sizes() -> None:
    encoder, adapter = VisionEncoder(NANO).eval(), VisionAdapter(NANO, 192)
    with torch.no_grad():
        tokens = encoder(torch.randn(2, 3, 96, 96))
        assert tokens.shape == (2, 9, NANO.token_size)
        assert adapter(tokens).shape == (2, 9, 192)


def test_a_tile_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="does not divide"):
        VisionEncoder(NANO.model_copy(update={"image_size": 80}))
