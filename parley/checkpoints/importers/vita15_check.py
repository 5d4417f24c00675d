"""Compares an imported model with the published code: every tensor of an `expected.safetensors`.

Group by group, each with only its own parts in memory, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from parley.checkpoints import Checkpoint, CheckpointError, load_model
from parley.models.filter_bank import fbank
from parley.models.parley import Parley
from parley.models.speech_decoder import Text

TOLERANCE = 1e-4  # relative and absolute; whole numbers must be equal
# Of the filter bank's energies: relative to the energy itself, and to the largest of its frame. In float32 a bin of
# hardly any energy keeps what the rounding of the frame's loudest leaves of it.
ENERGY_TOLERANCE, FRAME_TOLERANCE = 1e-3, 1e-7
IMAGE, AUDIO = -200, -500  # in `llm.input_ids`
INPUTS = {  # computed from, or given, and so not reproduced
    "vision.pixel_values", "speech.waveform", "speech.batch", "speech.lengths", "llm.input_ids", "decoder.text_ids",
    "decoder.teacher_tokens", "codec.waveform", "codec.decode_tokens",
}  # fmt: skip

Expected = dict[str, Tensor]


@dataclass(frozen=True)
class Comparison:
    """One tensor: the largest difference, and whether it is within the tolerance."""

    name: str
    error: float  # absolute; infinite where shapes differ or a number is missing
    ok: bool
    note: str = ""


def check(checkpoint: str | Path, expected: str | Path) -> list[Comparison]:
    """Compares an imported checkpoint with an `expected.safetensors`. Raises `CheckpointError` if it cannot be read."""
    try:
        wanted = load_file(expected)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{expected} cannot be read: {error}") from None
    computed: Expected = {}
    notes: dict[str, str] = {}
    opened = Checkpoint.open(checkpoint)
    for group, parts, compute in GROUPS:
        names = [name for name in wanted if name.startswith(group)]
        if not names:
            continue
        model = load_model(opened, parts)
        try:
            with torch.inference_mode():
                for name, tensor in compute(model, wanted):
                    computed[name] = tensor
        except KeyError as error:
            notes |= dict.fromkeys(names, f"cannot be computed without {error.args[0]}")
    return [
        _compare(name, tensor, computed.get(name), notes.get(name, "nothing here computes it"))
        for name, tensor in sorted(wanted.items())
        if name not in INPUTS
    ]


def _compare(name: str, wanted: Tensor, found: Tensor | None, note: str) -> Comparison:
    if found is None:
        return Comparison(name, float("inf"), False, note)
    if found.shape != wanted.shape:
        return Comparison(name, float("inf"), False, f"{list(found.shape)} instead of {list(wanted.shape)}")
    difference = (found.double() - wanted.double()).abs()
    error = float(difference.max()) if difference.numel() else 0.0
    if not wanted.is_floating_point():
        return Comparison(name, error, error == 0)
    close = _close_energies if name == "speech.fbank" else _close
    return Comparison(name, error, close(found.double(), wanted.double()))


def _close(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)


def _close_energies(found: Tensor, wanted: Tensor) -> bool:
    """Log energies [frames, bins], compared as energies in units of the loudest bin of their frame."""
    loudest = wanted.amax(-1, keepdim=True)
    found, wanted = (found - loudest).exp(), (wanted - loudest).exp()
    return torch.allclose(found, wanted, rtol=ENERGY_TOLERANCE, atol=FRAME_TOLERANCE)


def _vision(model: Parley, wanted: Expected) -> Iterator[tuple[str, Tensor]]:
    tokens = model.vision_encoder(wanted["vision.pixel_values"])
    yield "vision.encoder_out", tokens
    yield "vision.adapter_out", model.vision_adapter(tokens)


def _speech(model: Parley, wanted: Expected) -> Iterator[tuple[str, Tensor]]:
    yield "speech.fbank", fbank(wanted["speech.waveform"], model.config.speech)
    frames, lengths = model.speech_encoder(wanted["speech.batch"], wanted["speech.lengths"])
    yield "speech.encoder_out", frames
    yield "speech.encoder_mask", _mask(lengths, frames)[:, None]
    embeddings, lengths = model.speech_adapter(frames, lengths)
    yield "speech.adapter_out", embeddings
    yield "speech.adapter_mask", _mask(lengths, embeddings)[:, None]
    yield "speech.attention_mask", _mask(lengths, embeddings)
    prompt = model.speech_prompt.vectors.expand(len(embeddings), -1, -1)
    yield "speech.inputs_embeds", torch.cat([prompt, embeddings], 1)


def _mask(lengths: Tensor, frames: Tensor) -> Tensor:
    """Which frames [b, t] are speech, not padding."""
    return torch.arange(frames.shape[1]) < lengths[:, None]


def _language(model: Parley, wanted: Expected) -> Iterator[tuple[str, Tensor]]:
    table = model.language.get_input_embeddings()
    pieces, pictures, utterances = [], 0, 0
    for token in wanted["llm.input_ids"][0]:
        if token == IMAGE:
            pixels = wanted["vision.pixel_values"][pictures, None]
            pieces.append(model.vision_adapter(model.vision_encoder(pixels))[0])
            pictures += 1
        elif token == AUDIO:
            length = int(wanted["speech.lengths"][utterances])
            pieces += [model.speech_prompt.vectors, _encode_speech(model, wanted["speech.batch"][utterances, :length])]
            utterances += 1
        else:
            pieces.append(table(token[None]))
    embeddings = torch.cat(pieces)[None]
    yield "llm.inputs_embeds", embeddings
    output = model.language(inputs_embeds=embeddings, use_cache=True)
    yield "llm.logits", output.logits
    ids = []
    for _ in range(len(wanted["llm.greedy_ids"])):
        ids.append(output.logits[:, -1].argmax(-1))
        output = model.language(input_ids=ids[-1][None], past_key_values=output.past_key_values, use_cache=True)
    yield "llm.greedy_ids", torch.cat(ids)


def _encode_speech(model: Parley, features: Tensor) -> Tensor:
    frames, lengths = model.speech_encoder(features[None], torch.tensor([len(features)]))
    return model.speech_adapter(frames, lengths)[0][0]


def _speech_decoder(model: Parley, wanted: Expected) -> Iterator[tuple[str, Tensor]]:
    decoder = model.speech_decoder
    table = model.language.get_input_embeddings().weight
    text = Text.of([wanted["decoder.text_ids"].tolist()], table)
    yield "decoder.hidden_in", text.embeddings.reshape(1, -1, decoder.config.hidden_size)
    yield "decoder.nar_out", decoder.encode_text(text.embeddings, text.lengths)
    yield "decoder.teacher_logits", decoder(text, wanted["decoder.teacher_tokens"][None])[0]
    count = len(wanted["decoder.greedy_tokens"])
    slots = decoder.slots(1, text.ids.shape[1] * decoder.cuts + 2 + count)
    slots.prefill(text)
    token, tokens = torch.tensor([decoder.config.sos]), []
    for _ in range(count):
        # The likeliest of all tokens: the published greedy run excludes none.
        token = slots.step(token).argmax(-1)
        tokens.append(token)
    yield "decoder.greedy_tokens", torch.cat(tokens)


def _codec(model: Parley, wanted: Expected) -> Iterator[tuple[str, Tensor]]:
    decoder = model.codec_decoder
    latents, speaker = model.codec_encoder(wanted["codec.waveform"][None])
    yield "codec.latents", latents.transpose(1, 2)
    yield "codec.global_features", speaker
    codes, speaker_tokens = decoder.assign(latents, speaker)
    yield "codec.tokens", codes if codes.ndim == 3 else codes[..., None]
    yield "codec.global_tokens", speaker_tokens
    yield "codec.decoded_own", decoder(codes, speaker_tokens)[:, None]
    released = torch.tensor([model.config.codec.default_speaker])
    yield "codec.decoded_voice", decoder(wanted["codec.decode_tokens"], released)[:, None]


Compute = Callable[[Parley, Expected], Iterator[tuple[str, Tensor]]]
GROUPS: tuple[tuple[str, tuple[str, ...], Compute], ...] = (
    ("vision.", ("vision_encoder", "vision_adapter"), _vision),
    ("speech.", ("speech_encoder", "speech_adapter", "speech_prompt"), _speech),
    (
        "llm.",
        ("vision_encoder", "vision_adapter", "speech_encoder", "speech_adapter", "speech_prompt", "language"),
        _language,
    ),
    ("decoder.", ("language", "speech_decoder"), _speech_decoder),
    ("codec.", ("codec_encoder", "codec_decoder"), _codec),
)
