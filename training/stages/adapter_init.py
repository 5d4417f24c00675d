"""The initialisation of adapters that no earlier stage has trained.

Notable points:
- What an adapter writes is as large as the embedding of a token. A fresh adapter would write embeddings ten times as
  large, and the layers of the language model could add nothing to them.
- The first layer of a vision adapter is whitened: it reads the main directions of the vision encoder's features at one
  size. Otherwise most of what it passes on is whether a cell is empty, and nothing says where the cell is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from parley.media.image import frames_to_pixels
from parley.models.parley import Parley

MAIN_DIRECTIONS = 28  # of the vision encoder's features, that a whitened layer reads
POSITION_GAIN = 2.5  # how much larger it reads the directions that differ between positions
FIRST_LAYER_SCALE = 0.25  # so small that GELU is nearly linear and mixes nothing


@torch.no_grad()
def whiten_vision_adapter(model: Parley, pictures: Sequence[Image.Image]) -> None:
    """Whitens the first layer of the vision adapter for the encoder's features of these pictures."""
    whiten(model.vision_adapter[0], _vision_features(model, pictures))


@torch.no_grad()
def rescale_adapters(model: Parley, fresh: Collection[str], pictures: Sequence[Image.Image]) -> None:
    """Rescales the adapters among the parts `fresh` so that what they write is as large as a token's embedding."""
    if "vision_adapter" in fresh:
        written = model.vision_adapter(_vision_features(model, pictures))
        rescale(model.vision_adapter[-1], _embedding_size(model) / _size(written))
    if "speech_adapter" in fresh:
        frames = torch.randn(4, 100, model.config.speech.hidden_size)
        written, _ = model.speech_adapter(frames, torch.full((4,), 100))
        rescale(model.speech_adapter.project, _embedding_size(model) / _size(written))


def whiten(layer: nn.Linear, features: Tensor) -> None:
    """Sets a first layer so that it reads the main directions of its input `features` [pictures, positions, width] at
    one size, and those that differ between positions at `POSITION_GAIN` times that size."""
    flat = features.flatten(0, 1)
    mean = flat.mean(0)
    _, sizes, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    sizes = sizes.clamp(min=1e-5 * sizes[0]) / len(flat) ** 0.5  # directions that are only rounding stay small
    main = directions[:MAIN_DIRECTIONS] / sizes[:MAIN_DIRECTIONS, None]
    positions = (features.mean(0) - mean) @ main.T  # the mean feature of each position
    apart = torch.linalg.svd(positions, full_matrices=False)[2][: features.shape[1] - 1]
    read = torch.cat([main, POSITION_GAIN * apart @ main])
    mixing = torch.randn(layer.out_features, len(read), device=read.device) / len(read) ** 0.5
    layer.weight.copy_(FIRST_LAYER_SCALE * mixing @ read)
    layer.bias.copy_(-layer.weight @ mean)


def rescale(layer: nn.Linear, factor: Tensor) -> None:
    """Multiplies what a layer writes by a factor."""
    layer.weight.mul_(factor)
    layer.bias.mul_(factor)


def _vision_features(model: Parley, pictures: Sequence[Image.Image]) -> Tensor:
    pixels = torch.from_numpy(frames_to_pixels(list(pictures), model.config.vision))
    return model.vision_encoder(pixels)


def _embedding_size(model: Parley) -> Tensor:
    return _size(model.language.get_input_embeddings().weight.float())


def _size(tensor: Tensor) -> Tensor:
    """Root mean square."""
    return tensor.square().mean().sqrt()
