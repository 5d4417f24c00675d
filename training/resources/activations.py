"""How much of a forward pass is kept for the backward pass, for each stage, in bytes.

Notable points:
- A block keeps its input, the output of attention and that of every second matrix product, and computes the others
  again (`training.distributed.activations`); one block at a time is whole.
- A pass is taken at its worst: every token of it is a picture's where the stage reads pictures.
- Small networks are not computed again: what they keep is counted by running them without data.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from parley.config import LanguageConfig, ParleyConfig, SpeechConfig, VisionConfig
from parley.models.parley import build_part
from parley.models.speech import SUBSAMPLING
from training.objectives.codec import REFERENCE_TOKENS, SEGMENT_TOKENS
from training.recipe import Stage

BF16, FP32 = 2, 4  # bytes
TEXT_POSITIONS = 0.4  # pieces of text embeddings for a codec token, in the prefix of the speech decoder (3.2)
WHOLE_BLOCK = (10, 4)  # of a Llama block that is not computed again: widths and inner widths kept for a position


def activation_bytes(stage: Stage, config: ParleyConfig, tokens: int, lora: bool = False) -> float:
    """What a pass of `tokens` keeps, in one process."""
    match stage.objective:
        case "ctc":
            return tokens / SUBSAMPLING * _speech(config.speech) + tokens * _convolutions(config.speech)
        case "speech_decoder":
            return tokens * (1 + TEXT_POSITIONS) * _speech_decoder(config)
        case "codec":
            return tokens / (SEGMENT_TOKENS + REFERENCE_TOKENS) * _codec(config)
    return _dialogues(stage, config, tokens, lora)


def _dialogues(stage: Stage, config: ParleyConfig, tokens: int, lora: bool) -> float:
    """Gradients flow through the language model whatever is trained; through an encoder only if it is trained."""
    kept = tokens * _language(config.language, lora)
    if "vision_encoder" in stage.trains:
        kept += tokens * patches_a_token(config.vision) * _vision(config.vision)
    return kept


def patches_a_token(vision: VisionConfig) -> float:
    """Positions of the vision encoder for each of its tokens, the class token included."""
    patches = (vision.image_size // vision.patch_size) ** 2
    return (patches + 1) / (patches / vision.downsample**2)


def _language(config: LanguageConfig, lora: bool) -> int:
    """Bytes for a token: input, attention, then q, v, gate and down; with LoRA these come twice, base and adapter."""
    width, inner = config.hidden_size, config.intermediate_size
    values = width // config.num_heads * config.num_kv_heads
    products = 2 * width + values + inner
    kept = config.num_layers * (2 * width + products * (2 if lora else 1))
    return BF16 * (kept + _whole(width, inner))


def _vision(config: VisionConfig) -> int:
    """Bytes for a patch: input, attention, q, v and the inner layer."""
    width, inner = config.hidden_size, config.intermediate_size
    return BF16 * (config.num_layers * (4 * width + inner) + _whole(width, inner))


def _speech(config: SpeechConfig) -> int:
    """Bytes for an encoder frame: input, attention, and every second product."""
    width, inner = config.hidden_size, config.intermediate_size
    kept = 6 * width + (inner if config.conv_kernel else 0)
    return BF16 * (config.num_layers * kept + _whole(width, inner))


def _convolutions(config: SpeechConfig) -> float:
    """Bytes for a mel frame: the outputs of the two convolutions, and the second once more, joined."""
    return BF16 * config.conv_channels * config.num_mel_bins * (1 / 4 + 2 / 16)


def _speech_decoder(config: ParleyConfig) -> int:
    """Bytes for a position. Its blocks are not computed again."""
    decoder = config.speech_decoder
    layers = max(decoder.nar_layers + decoder.ar_layers, 1)
    return BF16 * layers * _whole(decoder.hidden_size, decoder.intermediate_size)


def _whole(width: int, inner: int) -> int:
    return WHOLE_BLOCK[0] * width + WHOLE_BLOCK[1] * inner


@lru_cache(maxsize=4)
def _codec(config: ParleyConfig) -> int:
    """Bytes for an utterance: the encoder hears its segment and its reference, the generator writes the segment."""
    with torch.device("meta"):
        encoder, decoder = (build_part(part, config).eval() for part in ("codec_encoder", "codec_decoder"))
        heard = [torch.empty(1, length * decoder.hop_length) for length in (SEGMENT_TOKENS, REFERENCE_TOKENS)]
        latents, speaker = encoder(heard[0])
        kept = [saved_bytes(encoder, waveform) for waveform in heard]
        return sum(kept) + saved_bytes(decoder.generator, latents.detach(), speaker.detach())


def saved_bytes(module: nn.Module, *inputs: Tensor) -> int:
    """What autograd keeps of a forward pass, each storage once, without weights."""
    own = {tensor.untyped_storage()._cdata for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = module(*inputs)
    del output
    return sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in own)
