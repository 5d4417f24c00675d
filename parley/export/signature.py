"""What an exported encoder looks like from outside: the names, dtypes and shapes of its tensors, without the batch.

Both sides use it: the writer of a model repository and the service that calls the server. A model's name contains the
fingerprint of its weights, so one server may serve several checkpoints and no call reaches other weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from parley.config import ParleyConfig, SpeechConfig
from parley.models.speech_step import past_frames, reach

FORMAT = "2"  # changes when an older service could not use a newer model
DTYPES = ("float32", "float16")  # of an exported model
BYTES = {"float32": 4, "float16": 2, "int64": 8, "bool": 1}


@dataclass(frozen=True)
class TensorSpec:
    name: str
    dtype: str
    shape: tuple[int, ...]  # without the batch

    @property
    def bytes(self) -> int:
        """Of one row of a batch."""
        return math.prod(self.shape) * BYTES[self.dtype]


@dataclass(frozen=True)
class Signature:
    """`states`: kept by the server between the calls of a sequence; they begin with zeros."""

    service: str
    weights: str  # fingerprint of the checkpoint
    dtype: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[TensorSpec, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)  # what else the exported shapes depend on

    @property
    def name(self) -> str:
        return model_name(self.service, self.weights)

    @property
    def parameters(self) -> dict[str, str]:
        """What the model's configuration says about it."""
        return {"format": FORMAT, "weights": self.weights, "dtype": self.dtype, **self.choices}

    @property
    def state_bytes(self) -> int:
        """Of one sequence."""
        return sum(state.bytes for state in self.states)


def model_name(service: str, weights: str) -> str:
    return f"{service}-{weights}"


def vision_signature(config: ParleyConfig, weights: str, dtype: str = "float32") -> Signature:
    """One tile [3, side, side] → its embeddings [n, language]."""
    vision = config.vision
    side = vision.image_size // vision.patch_size // vision.downsample
    return Signature(
        "vision_encoder",
        weights,
        dtype,
        inputs=(TensorSpec("pixels", "float32", (3, vision.image_size, vision.image_size)),),
        outputs=(TensorSpec("embeddings", dtype, (side * side, config.language.hidden_size)),),
    )


@dataclass(frozen=True)
class SpeechChunks:
    """How an exported speech encoder cuts an utterance. Raises `ValueError` for sizes that cannot be exported."""

    chunk_size: int  # encoder frames
    left_chunks: int  # below 0: all
    max_seconds: float  # of an utterance; matters where all past chunks are kept

    def __post_init__(self) -> None:
        if self.chunk_size <= 0:
            raise ValueError(
                "a speech encoder that encodes whole utterances has no fixed step to export; "
                "choose a chunk size, e.g. 16"
            )

    def past(self, config: SpeechConfig) -> int:
        """Frames of the past that are kept."""
        return past_frames(config, self.chunk_size, self.left_chunks, self.max_seconds)

    def choices(self, config: SpeechConfig) -> dict[str, str]:
        """What the shapes of an exported model depend on."""
        return {"chunk_size": str(self.chunk_size), "past": str(self.past(config))}

    @classmethod
    def chosen(
        cls, config: SpeechConfig, chunk_size: int | None, left_chunks: int | None, max_seconds: float
    ) -> SpeechChunks:
        """None means the config's."""
        chunk_size = config.chunk_size if chunk_size is None else chunk_size
        return cls(chunk_size, config.left_chunks if left_chunks is None else left_chunks, max_seconds)


def speech_signature(
    config: ParleyConfig, weights: str, chunks: SpeechChunks, *, transcribes: bool, dtype: str = "float32"
) -> Signature:
    """One chunk of an utterance → the embeddings that it completes, and the likeliest letters of its frames."""
    speech, past = config.speech, chunks.past(config.speech)
    embeddings = -(-(speech.adapter_kernel - 1 + chunks.chunk_size) // 2)
    outputs = (
        TensorSpec("embeddings", dtype, (embeddings, config.language.hidden_size)),  # the first `lengths` count
        TensorSpec("lengths", "int64", (1,)),
        TensorSpec("ids", "int64", (chunks.chunk_size,)),
    )
    return Signature(
        "speech_encoder",
        weights,
        dtype,
        inputs=(
            TensorSpec("features", "float32", (reach(chunks.chunk_size), speech.num_mel_bins)),
            TensorSpec("counts", "int64", (1,)),  # frames of the chunk that are speech
            TensorSpec("last", "bool", (1,)),  # silence follows this chunk; the states stay as they were
        ),
        outputs=outputs if transcribes else outputs[:2],
        states=speech_states(speech, past, dtype),
        choices=chunks.choices(speech),
    )


def speech_states(config: SpeechConfig, past: int, dtype: str) -> tuple[TensorSpec, ...]:
    """Those of `StepState` that are not empty: a server takes no tensor without elements."""
    layers, heads, size = config.num_layers, config.num_heads, config.hidden_size
    states = (
        TensorSpec("key", dtype, (layers, heads, past, size // heads)),
        TensorSpec("value", dtype, (layers, heads, past, size // heads)),
        TensorSpec("bias", dtype, (layers, heads, past)),
        TensorSpec("conv", dtype, (layers, max(config.conv_kernel - 1, 0), size)),
        TensorSpec("pending", dtype, (config.adapter_kernel - 1, size)),
        TensorSpec("frames", "int64", (1,)),
    )
    return tuple(state for state in states if state.bytes)
