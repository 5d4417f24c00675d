"""Where and how large the cases of `benchmarks.train_step` are, and what one of them is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from parley.config import ParleyConfig, preset


@dataclass(frozen=True)
class Setting:
    """Where and how large."""

    size: str
    device: torch.device
    config: ParleyConfig
    tokens: int  # of a pass
    tiles: int  # of its picture
    frames: int  # mel frames of a pass of 2.1a
    codes: int  # codec tokens of a pass of 3.2
    layers: int  # of the language model, where it is trained with an optimizer on one GPU
    matrix: int  # side
    warm_up: int
    steps: int

    @classmethod
    def of(cls, size: str) -> Setting:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if size == "full":
            return cls(size, device, preset("vita-7b"), 6200, 13, 48_000, 16_384, 10, 8192, 8, 20)
        return cls(size, device, small(preset("vita-7b")), 256, 3, 800, 160, 2, 512, 1, 3)


def small(config: ParleyConfig) -> ParleyConfig:
    """The same blocks, a few channels."""
    sizes = {"hidden_size": 64, "num_layers": 4, "num_heads": 4, "intermediate_size": 128}
    return config.model_copy(
        update={
            "vision": config.vision.model_copy(update=sizes | {"image_size": 112}),
            "speech": config.speech.model_copy(update=sizes | {"conv_channels": 16}),
            "language": config.language.model_copy(update=sizes | {"num_kv_heads": 2, "vocab_size": 1000}),
            "speech_decoder": config.speech_decoder.model_copy(
                update={"hidden_size": 64, "intermediate_size": 128, "num_heads": 4}
            ),
        }
    )


@dataclass
class Built:
    """A case that is ready to be measured."""

    step: Callable[[], object]
    tokens: int = 0  # of a step
    operations: float = 0.0  # floating-point operations of a step
    more: Callable[[], dict] = dict  # further figures, after the steps
    seconds: list[float] = field(default_factory=list)  # of the steps, where another program has made them


@dataclass(frozen=True)
class Case:
    what: str
    build: Callable[[Setting, Path], Built]
