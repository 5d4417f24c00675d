"""How many floating-point operations a stage needs for a token, and how long it takes.

Notable points:
- A parameter costs 2 operations a position forward, 2 more where a gradient flows through it, and 2 more where it is
  trained: 6, 4 or 2. What is computed again in the backward pass is not counted, as is usual for this figure (MFU).
- Attention costs 4 × width × length a position and layer forward, half of it if causal, and twice that backward.
- A token is taken as one of a picture's where the stage reads pictures: the most that it costs.
"""

from __future__ import annotations

from parley.config import ParleyConfig
from parley.models.speech import ADAPTER_STRIDE, SUBSAMPLING
from training.lora_options import LoraOptions
from training.recipe import Schedule, Stage
from training.resources.activations import TEXT_POSITIONS, patches_a_token
from training.resources.sizes import PartSize

UTTERANCE_FRAMES = 250  # encoder frames of 10 s of speech, for attention
CLAUSE = 200  # codec tokens of a clause, for attention
SPEECH_TOKENS = 16.0  # a second, of the language model in 2.1b: 12.5 embeddings, and the tokens of the transcription
SECONDS = 3600  # of an hour


def operations(
    stage: Stage, schedule: Schedule, config: ParleyConfig, sizes: dict[str, PartSize], lora: LoraOptions | None = None
) -> float | None:
    """Floating-point operations for a token of the stage. None for the codec, which is convolutions.

    A token is one of the language model, an encoder frame (2.1a) or a codec token (3.2).
    """
    match stage.objective:
        case "codec" | "cells":
            return None
        case "ctc":
            return _speech_encoder(config, sizes, 6)
        case "speech_decoder":
            decoder = config.speech_decoder
            layers, positions = decoder.nar_layers + decoder.ar_layers, 1 + TEXT_POSITIONS
            attention = 3 * 4 * layers / 2 * decoder.hidden_size * CLAUSE
            return positions * (6 * sizes["speech_decoder"].parameters + attention)
    return _dialogue(stage, schedule, config, sizes, lora)


def _dialogue(
    stage: Stage, schedule: Schedule, config: ParleyConfig, sizes: dict[str, PartSize], lora: LoraOptions | None
) -> float:
    total = language_operations(config, sizes, schedule.sequence_length, "language" in stage.trains, lora)
    if stage.name == "2.1b":
        return total + ADAPTER_STRIDE * _speech_encoder(config, sizes, 2)
    return total + vision_operations(config, sizes, "vision_encoder" in stage.trains)


def language_operations(
    config: ParleyConfig, sizes: dict[str, PartSize], length: int, trained: bool, lora: LoraOptions | None = None
) -> float:
    """For a token, in sequences of `length`, with gradients through the whole model."""
    language, size = config.language, sizes["language"]
    attention = 3 * 2 * language.num_layers * language.hidden_size * length
    if lora is not None and trained:
        return 4 * size.parameters + 6 * size.adapters(lora.rank) + attention
    return (6 if trained else 4) * size.parameters + attention


def vision_operations(config: ParleyConfig, sizes: dict[str, PartSize], trained: bool) -> float:
    """For a token of a picture."""
    vision = config.vision
    patches = (vision.image_size // vision.patch_size) ** 2 + 1
    attention = (3 if trained else 1) * 4 * vision.num_layers * vision.hidden_size * patches
    return patches_a_token(vision) * ((6 if trained else 2) * sizes["vision_encoder"].parameters + attention)


def _speech_encoder(config: ParleyConfig, sizes: dict[str, PartSize], factor: int) -> float:
    """For an encoder frame; `factor` 6 trained, 2 frozen."""
    speech = config.speech
    attention = factor / 2 * 4 * speech.num_layers * speech.hidden_size * UTTERANCE_FRAMES
    return factor * sizes["speech_encoder"].parameters + attention


def total_tokens(
    stage: Stage, schedule: Schedule, config: ParleyConfig, samples: float, sample_tokens: float, hours: float
) -> float | None:
    """Tokens of the whole stage: of `samples` dialogues, or of `hours` of speech. None for the codec."""
    match stage.objective:
        case "codec" | "cells":
            return None
        case "ctc":
            frames = 1000 / config.speech.frame_shift_ms / SUBSAMPLING
            return schedule.epochs * hours * SECONDS * frames
        case "speech_decoder":
            return schedule.epochs * hours * SECONDS * config.codec.sample_rate / config.codec.hop_length
    if stage.name == "2.1b":
        return schedule.epochs * hours * SECONDS * SPEECH_TOKENS
    return schedule.epochs * samples * sample_tokens
