"""The encoders as functions of a signature's tensors, in its order: what is exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from parley.export.signature import Signature
from parley.models.parley import Parley
from parley.models.speech import BlockPast
from parley.models.speech_step import SpeechStep, StepState, empty_past

NEXT = "next_"  # before the name of a state: its value after the step


class VisionNetwork(nn.Module):
    """Encoder and adapter."""

    def __init__(self, model: Parley):
        super().__init__()
        self.encoder, self.adapter = model.vision_encoder, model.vision_adapter
        self.dtype = next(model.vision_encoder.parameters()).dtype

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return (self.adapter(self.encoder(pixels.to(self.dtype))),)


class SpeechNetwork(nn.Module):
    """`SpeechStep`; states come in and go out as tensors, those of all blocks stacked. `last` keeps the old ones."""

    def __init__(self, model: Parley, signature: Signature):
        super().__init__()
        self.step = SpeechStep(
            model.speech_encoder, model.speech_adapter, model.ctc_head, int(signature.choices["past"])
        )
        self.names = [state.name for state in signature.states]

    def forward(self, features: Tensor, counts: Tensor, last: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.names, states, strict=True))
        like = self.step.encoder.embed.weight
        config, batch = self.step.encoder.config, features.shape[0]
        empty = empty_past(config, self.step.past, (batch, config.num_layers), like)
        stacked = BlockPast(*(given.get(name, zeros) for name, zeros in empty._asdict().items()))
        state = StepState(
            [BlockPast(*(tensor[:, i] for tensor in stacked)) for i in range(config.num_layers)],
            given["pending"],
            given["frames"][:, 0],
        )
        output = self.step(features.to(like.dtype), counts[:, 0], last[:, 0], state)
        after = {name: torch.stack(tensors, 1) for name, tensors in _by_name(state.blocks).items()}
        after |= {"pending": state.pending, "frames": state.frames[:, None]}
        ids = () if output.ids is None else (output.ids,)
        kept = (_where(last[:, 0], given[name], after[name]) for name in self.names)
        return (output.embeddings, output.lengths[:, None], *ids, *kept)


def _where(rows: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """`x` in the `rows` (bool [b]) and `y` in the others; both [b, ...]."""
    return torch.where(rows.view(-1, *[1] * (x.dim() - 1)), x, y)


def _by_name(blocks: list[BlockPast]) -> dict[str, list[Tensor]]:
    return {name: [getattr(block, name) for block in blocks] for name in BlockPast._fields}
