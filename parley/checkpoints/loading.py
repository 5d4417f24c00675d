"""Builds a model from a checkpoint, so that every parameter has memory only once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from parley.checkpoints.checkpoint import Checkpoint, check_fit
from parley.checkpoints.manifest import CheckpointError
from parley.models.parley import Parley


def load_model(
    source: str | Path | Checkpoint,
    parts: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.float32,
) -> Parley:
    """The model of a checkpoint, in eval mode, with its tokenizer if it has one.

    Args:
        source: a checkpoint, or its folder.
        parts: those to load, None for all that the checkpoint has.
        dtype: of the floating-point tensors, None for as they are stored.

    Raises `CheckpointError`, in one line, for a missing part, a wrong size or hash, tensors that do not fit, or a
    folder that is replaced while it is read.
    """
    checkpoint = source if isinstance(source, Checkpoint) else Checkpoint.open(source)
    wanted = checkpoint.parts if parts is None else tuple(parts)
    if missing := [part for part in wanted if part not in checkpoint.parts]:
        raise CheckpointError(f"{checkpoint.path} has no {', '.join(missing)}; it has: {', '.join(checkpoint.parts)}")
    with UnallocatedParameters():
        model = Parley(checkpoint.config, wanted)
    for part in wanted:
        load_into(model.get_submodule(part), checkpoint.state_dict(part, device, dtype), part)
    model.tokenizer = checkpoint.tokenizer()
    return model.to(device).eval()


def load_into(module: nn.Module, state: dict[str, Tensor], part: str) -> None:
    """Gives a part the tensors of a state dict, uncopied. Raises one `CheckpointError` naming all that does not fit."""
    tied = part == "language" and module.config.tie_word_embeddings
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in module.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    check_fit(part, expected, {name: tuple(tensor.shape) for name, tensor in state.items()})
    module.load_state_dict(state, strict=False, assign=True)
    if tied:
        module.lm_head.weight = module.get_input_embeddings().weight


class UnallocatedParameters(TorchFunctionMode):
    """Inside, in this thread, `torch.empty` gives tensors on the meta device: the weights of layers take no memory.

    Not the meta device for all: buffers that no file holds (rotary frequencies, windows) are computed and must be kept.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        device = {"device": "meta"} if function is torch.empty else {}
        return function(*args, **((kwargs or {}) | device))
