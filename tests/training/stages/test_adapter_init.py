"""Fresh adapters: rescaled to the size of embeddings, and whitened."""

from __future__ import annotations

import torch

from parley.media.image import frames_to_pixels
from parley.models.parley import Parley
from training.data.world import World
from training.stages.adapter_init import rescale_adapters, whiten, whiten_vision_adapter


def size(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.square().mean().sqrt()


@torch.no_grad()
def test_what_a_fresh_adapter_writes_is_as_large_as_the_embeddings(tiny_config):
    model = Parley(tiny_config, ("vision_encoder", "vision_adapter", "speech_adapter", "language"))
    pictures = [World(0).picture(i)[1] for i in range(4)]
    whiten_vision_adapter(model, pictures)
    torch.manual_seed(0)
    rescale_adapters(model, {"vision_adapter", "speech_adapter"}, pictures)
    expected = size(model.language.get_input_embeddings().weight)
    pixels = torch.from_numpy(frames_to_pixels(pictures, tiny_config.vision))
    seen = model.vision_adapter(model.vision_encoder(pixels))
    torch.testing.assert_close(size(seen), expected, rtol=1e-3, atol=0)
    torch.manual_seed(0)
    frames = torch.randn(4, 100, tiny_config.speech.hidden_size)
    spoken, _ = model.speech_adapter(frames, torch.full((4,), 100))
    torch.testing.assert_close(size(spoken), expected, rtol=1e-3, atol=0)


@torch.no_grad()
def test_a_whitened_layer_reads_small_directions_as_well_as_large_ones():
    """One direction is a thousand times smaller than another; what tells positions apart is read best."""
    torch.manual_seed(0)
    content = torch.randn(400, 3, 4)
    position = torch.tensor([[-1.0, 1.0], [0.0, -2.0], [1.0, 1.0]]).expand(400, 3, 2)  # of three cells
    features = torch.cat([content * torch.tensor([100, 100, 0.1, 0.1]), 0.1 * position], -1)
    layer = torch.nn.Linear(6, 300)
    whiten(layer, features)
    written = layer(features).flatten(0, 1)
    directions = torch.cat([content, position], -1).flatten(0, 1)
    large, _, small, _, place, _ = (written.T @ (directions / directions.norm(dim=0))).norm(dim=0)
    torch.testing.assert_close(large, small, rtol=0.2, atol=0)
    assert place > 2 * large
