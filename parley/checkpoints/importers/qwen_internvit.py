"""A fresh model from published weights: Qwen2 / Qwen2.5 as its language model, InternViT as its vision encoder.

Notable points:
- Both are read as downloaded from Hugging Face; sizes come from the folders, the other parts from a preset.
- InternViT is known in both layouts: the one it was published in first (`intern_vit_6b`), and transformers' own.
- All other parts have fresh weights, so that any stage of the recipe can begin; but for the end-of-turn head.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from parley.checkpoints import CheckpointError
from parley.checkpoints.importers.naming import native_internvit, original_internvit, renamed
from parley.checkpoints.importers.tokenizer import read_chat_format, read_tokenizer
from parley.checkpoints.importers.transfer import (
    NEVER,
    Naming,
    Settings,
    Shard,
    Transfer,
    config_errors,
    read_json,
    safetensors_shards,
)
from parley.checkpoints.manifest import Manifest
from parley.checkpoints.writer import StageWriter
from parley.config import ChatFormat, LanguageConfig, ParleyConfig, SpeechDecoderConfig, VisionConfig, preset
from parley.models.parley import build_part, parts_of
from parley.text.prompt import PromptWriter

STAGE = "initialised"
TIED_HEAD = r"|^lm_head\.weight$"  # stored by some although it is the input table; never read
CLASS_TOKEN = {"embeddings.class_embedding": original_internvit, "embeddings.cls_token": native_internvit}
# Stage 2.2 makes it if it has the data: one that nothing has taught would end turns at random.
UNTAUGHT = ("end_of_turn_head",)
HEAD_SIZE = 64  # of a speech decoder made to fit


def init_pretrained(name: str, llm: str | Path, vision: str | Path, out: str | Path, seed: int = 0) -> Manifest:
    """A checkpoint with language model and vision encoder from folders, the rest fresh by `seed`.

    `name`: of a preset, or a JSON file of sizes, for the parts that start fresh. Raises `CheckpointError` (`ValueError`
    for the preset's name) in one line, with nothing written.
    """
    llm, vision = Path(llm), Path(vision)
    base = sizes(name)
    for folder in (llm, vision):
        if not folder.is_dir():
            raise CheckpointError(f"{folder} is not a folder")
    settings = Settings(read_json(llm / "config.json"), llm / "config.json")
    if settings.get("model_type", str, "nothing") != "qwen2":
        raise CheckpointError(f"{llm} is no Qwen2: its config.json is of {settings.get('model_type', str, 'nothing')}")
    tokenizer = read_tokenizer(llm)
    if tokenizer is None:
        raise CheckpointError(f"{llm} has no tokenizer: neither tokenizer.json nor vocab.json and merges.txt")
    chat = read_chat_format(llm, tokenizer)
    llm_shards, vision_shards = safetensors_shards(llm), safetensors_shards(vision)
    naming, elsewhere = internvit_layout(vision, vision_shards)
    with config_errors(llm):
        language = language_config(settings, chat)
        PromptWriter.of(language, tokenizer)  # it must have the special tokens
    with config_errors(vision):
        vision_sizes = vision_config(vision, base.vision)
    config = base.model_copy(
        update={
            "language": language,
            "vision": vision_sizes,
            "speech_decoder": fitted_decoder(base.speech_decoder, language.hidden_size),
        }
    )
    config = ParleyConfig.model_validate(config.model_dump())
    unused = r"\.rotary_emb\.inv_freq$" + (TIED_HEAD if language.tie_word_embeddings else "")
    language_transfer = Transfer(config, {"language": renamed("", ())}, llm_shards, ignored=unused)
    vision_transfer = Transfer(config, {"vision_encoder": naming}, vision_shards, ignored=elsewhere)
    with StageWriter(out) as writer:
        language_transfer.write(writer, STAGE)
        vision_transfer.write(writer, STAGE)
        torch.manual_seed(seed)
        for part in parts_of(config):
            if part not in (*writer.parts, *UNTAUGHT):
                writer.add_part(part, STAGE, build_part(part, config).state_dict())
        writer.add_tokenizer(tokenizer, STAGE)
        source = {"language": llm.name, "vision_encoder": vision.name}
        return writer.finish(stage=STAGE, config=config, data={"from": source, "seed": seed})


def sizes(name: str) -> ParleyConfig:
    """Of a preset, or what a JSON file says (`ParleyConfig.model_dump_json` writes one)."""
    if not name.endswith(".json"):
        return preset(name)
    with config_errors(Path(name)):
        return ParleyConfig.model_validate(read_json(Path(name)))


def language_config(settings: Settings, chat: ChatFormat, **more: Any) -> LanguageConfig:
    """Qwen2's sizes from a Hugging Face config. Raises `CheckpointError` for settings that our network lacks."""
    settings.only("hidden_act", "silu")
    settings.only("use_sliding_window", False)
    settings.only("rope_scaling", None)
    rope = settings.get("rope_parameters", dict, None) or {}
    Settings(rope, settings.file, "rope_parameters").only("rope_type", "default")
    width, heads = settings.get("hidden_size", int), settings.get("num_attention_heads", int)
    settings.only("head_dim", None, width // heads if heads > 0 else None)
    return LanguageConfig(
        vocab_size=settings.get("vocab_size", int),
        hidden_size=width,
        intermediate_size=settings.get("intermediate_size", int),
        num_layers=settings.get("num_hidden_layers", int),
        num_heads=heads,
        num_kv_heads=settings.get("num_key_value_heads", int),
        max_position_embeddings=settings.get("max_position_embeddings", int),
        rope_theta=rope.get("rope_theta") or settings.get("rope_theta", (int, float), 10_000.0),
        rms_norm_eps=settings.get("rms_norm_eps", (int, float), 1e-6),
        tie_word_embeddings=settings.get("tie_word_embeddings", bool, False),
        chat=chat,
        **more,
    )


def vision_config(folder: Path, base: VisionConfig | None = None) -> VisionConfig:
    """InternViT's sizes from its folder, in either layout; the rest is `base`'s. Raises `CheckpointError`."""
    file = folder / "config.json"
    vision = Settings(read_json(file), file)
    if "vision_config" in vision.values:
        vision = vision.inside("vision_config")
    native = vision.get("model_type", str, "nothing") == "internvl_vision"
    if not native and vision.get("model_type", str, "nothing") != "intern_vit_6b":
        raise CheckpointError(f"{folder} is no InternViT: its config.json is of {vision.values.get('model_type')}")
    vision.only("hidden_act", "gelu")
    if native:
        vision.only("use_mask_token", False)
        vision.only("use_mean_pooling", True)
        vision.only("use_absolute_position_embeddings", True)
    sizes = {
        "image_size": _side(vision, "image_size"),
        "patch_size": _side(vision, "patch_size"),
        "hidden_size": vision.get("hidden_size", int),
        "num_layers": vision.get("num_hidden_layers", int),
        "num_heads": vision.get("num_attention_heads", int),
        "intermediate_size": vision.get("intermediate_size", int),
        "layer_norm_eps": vision.get("layer_norm_eps", (int, float), 1e-6),
        "norm": vision.get("norm_type", str, "layer_norm"),
        "qkv_bias": vision.get("attention_bias", bool, False) if native else vision.get("qkv_bias", bool, True),
        "qk_norm": vision.get("use_qk_norm" if native else "qk_normalization", bool, False),
        **_pixel_statistics(folder),
    }
    return VisionConfig(**((base.model_dump() if base else {}) | sizes))


def internvit_layout(folder: Path, shards: list[Shard]) -> tuple[Naming, str]:
    """How an InternViT's tensors are named in these files, and a pattern of those that belong to no InternViT.

    It may be alone in them or part of a larger model. Raises `CheckpointError` if it is not there.
    """
    for key in (key for shard in shards for key in shard.tensors):
        for token, layout in CLASS_TOKEN.items():
            prefix = key.removesuffix(token)
            if key.endswith(token):
                return layout(prefix), f"^(?!{re.escape(prefix)})" if prefix else NEVER
    raise CheckpointError(f"{folder} holds no InternViT: there is no {' or '.join(CLASS_TOKEN)} in it")


def fitted_decoder(decoder: SpeechDecoderConfig, language_size: int) -> SpeechDecoderConfig:
    """The speech decoder with a width that language embeddings can be cut into: the preset's, or the next below."""
    if language_size % decoder.hidden_size == 0:
        return decoder
    widths = [w for w in range(1, min(decoder.hidden_size, language_size) + 1) if language_size % w == 0]
    whole_heads = [w for w in widths if w % HEAD_SIZE == 0]
    width = max(whole_heads or [w for w in widths if w % 2 == 0], default=0)
    if not width:
        raise CheckpointError(f"language embeddings of {language_size} cannot be cut for a speech decoder")
    ratio = decoder.intermediate_size / decoder.hidden_size
    sizes = {
        "hidden_size": width,
        "num_heads": max(1, width // HEAD_SIZE),
        "intermediate_size": max(HEAD_SIZE, round(ratio * width / HEAD_SIZE) * HEAD_SIZE),
    }
    return decoder.model_copy(update=sizes)


def _side(settings: Settings, name: str) -> int:
    """A size that is one number or a pair of equal ones."""
    value = settings.get(name, (int, list))
    sides = set(value) if isinstance(value, list) else {value}
    if len(sides) != 1:
        raise CheckpointError(f"{settings.file}: {name} is {value}; only squares are known here")
    return sides.pop()


def _pixel_statistics(folder: Path) -> dict[str, tuple[float, ...]]:
    """Mean and deviation of the pixels a vision encoder was trained on, if its folder has them."""
    file = folder / "preprocessor_config.json"
    if not file.exists():
        return {}
    processor = Settings(read_json(file), file)
    pairs = ((name, processor.get(name, list, None)) for name in ("image_mean", "image_std"))
    return {name: tuple(value) for name, value in pairs if value}
