"""What is compiled for a CPU: a network, its inputs, and the name of the file that holds its graph.

Notable points:
- A graph holds operations and no weights: it belongs to the sizes of a model, and a checkpoint that is trained further
  keeps it. The file's name contains a hash of everything that the graph depends on.
- Graphs of `nano` come with the package, in `GRAPHS`; `parley export graphs` writes those of other sizes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from parley.checkpoints import Checkpoint, load_model
from parley.export.networks import NEXT, SpeechNetwork
from parley.export.signature import SpeechChunks, speech_signature
from parley.models.codec.base import CodecDecoder, CodecFrames
from parley.models.parley import Parley
from parley.models.speech_decoder import SpeechDecoder
from parley.models.speech_decoder_step import BLOCK, DecoderPrefill, DecoderStep

GRAPHS = Path(__file__).with_name("graphs")
FORMAT = "1"  # changes when older graphs must not be used
TOKENS, CODES = 8, 16  # of each sequence in an example
PARTS = (
    *("vision_encoder", "vision_adapter", "speech_encoder", "speech_adapter", "ctc_head"),
    *("speech_decoder", "codec_decoder"),
)
UNRELATED = {
    *("dropout", "top_k", "chunk_tokens", "overlap_tokens", "max_tiles", "max_frames", "image_mean", "image_std"),
    *("ctc_alphabet", "ctc_words", "chunk_size", "left_chunks", "dynamic_chunks", "num_prompt_embeddings"),
}  # fields of a config that no graph depends on
MAX_SECONDS = 60.0  # of an utterance; matters where a chunk attends to all before it


@dataclass(frozen=True)
class Graph:
    """A network as a function of tensors.

    `inputs`: by name, the names of the dimensions that vary. `example`: inputs with a batch of a given size.
    `facts`: what the graph depends on besides the shapes of the network's weights.
    """

    name: str
    network: nn.Module
    inputs: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...]
    example: Callable[[int], tuple[Tensor, ...]]
    facts: str

    @property
    def weights(self) -> dict[str, Tensor]:
        return dict(self.network.named_parameters()) | dict(self.network.named_buffers())

    def path(self, folder: Path) -> Path:
        shapes = {name: list(weight.shape) for name, weight in self.weights.items()}
        key = hashlib.sha256(json.dumps([FORMAT, self.facts, shapes]).encode()).hexdigest()[:12]
        return folder / f"{self.name}-{key}.onnx"


def all_graphs(checkpoint: Checkpoint) -> list[Graph]:
    """Those of the parts that the checkpoint has."""
    model, found = load_model(checkpoint, [part for part in PARTS if part in checkpoint.parts]), []
    if model.vision_encoder and model.vision_adapter:
        found.append(vision_graph(model))
    if model.speech_encoder and model.speech_adapter and model.config.speech.chunk_size > 0:
        found.append(speech_step_graph(model, SpeechChunks.chosen(model.config.speech, None, None, MAX_SECONDS)))
    if model.speech_decoder and model.codec_decoder:
        found += speech_decoder_graphs(model.speech_decoder, model.codec_decoder)
    return found


def vision_graph(model: Parley) -> Graph:
    """Of encoder and adapter: pixels → embeddings."""
    config, network = model.config.vision, nn.Sequential(model.vision_encoder, model.vision_adapter)

    def example(batch: int) -> tuple[Tensor, ...]:
        return (torch.randn(batch, 3, config.image_size, config.image_size),)

    facts = config.model_dump_json(exclude=UNRELATED)
    return Graph("vision_encoder", network, {"pixels": {0: "batch"}}, ("embeddings",), example, facts)


def speech_step_graph(model: Parley, chunks: SpeechChunks) -> Graph:
    """Of `SpeechNetwork`: encoder, adapter and CTC head, with the state of each utterance as in- and output."""
    signature = speech_signature(model.config, "", chunks, transcribes=model.ctc_head is not None)
    inputs = {each.name: {0: "batch"} for each in (*signature.inputs, *signature.states)}
    outputs = [each.name for each in signature.outputs] + [NEXT + each.name for each in signature.states]

    def example(batch: int) -> tuple[Tensor, ...]:
        features, states = signature.inputs[0], signature.states
        counts, last = torch.full((batch, 1), chunks.chunk_size), torch.arange(batch)[:, None] % 2 == 1
        past = [torch.randn(batch, *state.shape) for state in states if state.dtype == "float32"]
        return torch.randn(batch, *features.shape), counts, last, *past, counts + 2 * chunks.chunk_size

    facts = json.dumps([signature.choices, model.config.speech.model_dump_json(exclude=UNRELATED)])
    return Graph("speech_encoder_step", SpeechNetwork(model, signature), inputs, tuple(outputs), example, facts)


def speech_decoder_graphs(decoder: SpeechDecoder, codec: CodecDecoder) -> tuple[Graph, Graph, Graph]:
    """Those of prefill, step and codec."""
    return prefill_graph(decoder), step_graph(decoder), codec_graph(codec)


def prefill_graph(decoder: SpeechDecoder) -> Graph:
    def example(batch: int) -> tuple[Tensor, ...]:
        lengths = TOKENS - torch.arange(batch) % TOKENS
        ids = torch.arange(TOKENS).expand(batch, -1)
        return torch.randn(*ids.shape, decoder.cuts * decoder.config.hidden_size), lengths, ids

    text = {0: "batch", 1: "tokens"}
    inputs = {"embeddings": text, "lengths": {0: "batch"}, "ids": text}
    return Graph("speech_decoder_prefill", DecoderPrefill(decoder), inputs, ("kept",), example, _facts(decoder))


def step_graph(decoder: SpeechDecoder) -> Graph:
    config = decoder.config
    names = [f"{kind}_{layer}" for layer in range(config.ar_layers) for kind in ("keys", "values")]

    def example(batch: int) -> tuple[Tensor, ...]:
        lengths = 2 * BLOCK - 1 - 7 * torch.arange(batch) % BLOCK
        shape = (batch, config.num_heads, 2 * BLOCK, config.hidden_size // config.num_heads)
        return torch.arange(batch), lengths.float(), lengths, *(torch.randn(shape) for _ in names)

    each = {0: "batch"}
    inputs = {"tokens": each, "positions": each, "lengths": each} | {name: {0: "batch", 2: "past"} for name in names}
    return Graph("speech_decoder_step", DecoderStep(decoder), inputs, ("logits", "kept"), example, _facts(decoder))


def codec_graph(codec: CodecDecoder) -> Graph:
    def example(batch: int) -> tuple[Tensor, ...]:
        codes = torch.arange(batch * CODES).view(batch, -1) % len(codec.quantizer.codebooks[0].weight)
        return codes, torch.zeros(batch, codec.voice_quantizer.groups, dtype=torch.long)

    inputs = {"codes": {0: "batch", 1: "tokens"}, "speaker": {0: "batch"}}
    facts = f"{type(codec.generator).__name__} {codec.hop_length}"
    return Graph("codec_decoder", CodecFrames(codec), inputs, ("frames",), example, facts)


def _facts(decoder: SpeechDecoder) -> str:
    return decoder.config.model_dump_json(exclude=UNRELATED)
