"""The published VITA-1.5 layout → ours. Research only: those weights forbid commercial use.

Notable points:
- Nothing but the files decides the sizes; a setting that our networks do not compute is refused by name.
- The shards hold the newest weights of the multimodal model; the vision and audio folders hold sizes, the mean and
  variance of the features, and older weights, which are not read. The speech decoder and the codec are `.pt` files.
- Their answers begin with a token for the state, ☞ ☜ ☟; an imported model keeps these tokens.
- `tests/fixtures/vita15-tiny/README.md` describes the computation; `vita15_check` in this folder checks it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from parley.checkpoints import CheckpointError
from parley.checkpoints.importers.naming import (
    SPEECH_ADAPTER,
    SPEECH_DECODER,
    SPEECH_ENCODER,
    SPEECH_PROMPT,
    codec_decoder,
    codec_encoder,
    original_internvit,
    renamed,
)
from parley.checkpoints.importers.qwen_internvit import TIED_HEAD, language_config, vision_config
from parley.checkpoints.importers.tokenizer import read_chat_format, read_tokenizer
from parley.checkpoints.importers.transfer import (
    Naming,
    Settings,
    Shard,
    Transfer,
    config_errors,
    load_pickle,
    pickle_shard,
    read_json,
    safetensors_shards,
)
from parley.checkpoints.manifest import Manifest
from parley.checkpoints.writer import StageWriter
from parley.config import (
    ChatFormat,
    HifiganCodecConfig,
    ParleyConfig,
    SpeechConfig,
    SpeechDecoderConfig,
    VisionConfig,
)
from parley.text.prompt import PromptWriter

LICENCE = "research only: the published VITA-1.5 weights forbid commercial use"
STAGE = "imported"
AUDIO = "model.audio_encoder."
VISION = "model.vision_tower.vision_tower."
TEXT_TO_SPEECH = "vita_tts_ckpt"
DECODER, CODEC = f"{TEXT_TO_SPEECH}/decoder/", f"{TEXT_TO_SPEECH}/codec/"  # also in front of their keys
# Frequencies that older code stored, and a layer of the codec that its own code never calls.
UNUSED = rf"\.rotary_emb\.inv_freq$|^{CODEC}encoder\.linear\."


def import_published(folder: str | Path, out: str | Path) -> Manifest:
    """Reads a folder in the published layout and writes it as a checkpoint of ours.

    One file is open at a time. Raises `CheckpointError` in one line, with nothing written, for a folder that is
    something else, a missing or damaged file, settings or tensors that do not fit, or a `.pt` file that carries code.
    """
    folder = Path(folder)
    settings = _settings(folder)
    for file in sorted(folder.rglob("*.pt")):
        load_pickle(file)  # none may carry code, not even those that are not needed
    shards = safetensors_shards(folder)
    shards.append(pickle_shard(folder / DECODER / "final.pt", DECODER))
    shards.append(pickle_shard(folder / CODEC / "final.pt", CODEC))
    tokenizer = read_tokenizer(folder)
    chat = read_chat_format(folder, tokenizer) if tokenizer is not None else ChatFormat()
    with config_errors(folder):
        config = read_config(folder, settings, shards, chat)
        if tokenizer is not None:
            PromptWriter.of(config.language, tokenizer)  # it must have the special tokens
        parts, given = _parts(folder, config, shards)
        unused = UNUSED + TIED_HEAD if config.language.tie_word_embeddings else UNUSED
        weights = Transfer(config, parts, shards, given, unused)
        with StageWriter(out) as writer:
            weights.write(writer, STAGE)
            if tokenizer is not None:
                writer.add_tokenizer(tokenizer, STAGE)
            return writer.finish(stage=STAGE, config=config, licence=LICENCE)


def read_config(folder: Path, settings: Settings, shards: list[Shard], chat: ChatFormat) -> ParleyConfig:
    """The sizes of all parts. Raises `CheckpointError`, or `ValueError` from the config itself."""
    return ParleyConfig(
        name="vita-1.5",
        vision=_vision(folder / _named(settings, "mm_vision_tower"), settings),
        speech=_speech(folder / _named(settings, "mm_audio_encoder"), settings, shards),
        language=language_config(settings, chat, state="tokens"),
        speech_decoder=_speech_decoder(folder / DECODER / "model.json"),
        codec=_codec(folder / CODEC / "model.json"),
    )


def _settings(folder: Path) -> Settings:
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder")
    settings = Settings(read_json(folder / "config.json"), folder / "config.json")
    kind = settings.get("model_type", str, "nothing")
    if kind.lower() != "vita-qwen2":
        raise CheckpointError(
            f"{folder} is not in the published VITA-1.5 layout: its config.json is of {kind}, not vita-Qwen2"
        )
    return settings


def _named(settings: Settings, name: str) -> str:
    """The folder a field points at; released files carry the paths of the machine they were trained on."""
    return Path(settings.get(name, str)).name


def _vision(folder: Path, settings: Settings) -> VisionConfig:
    settings.only("mm_projector_type", "mlp2x_gelu")
    width = settings.get("mm_hidden_size", int)
    config = vision_config(folder).model_copy(update={"feature_scale": 0.5})
    if width != config.token_size:
        raise CheckpointError(f"{settings.file}: mm_hidden_size is {width}; the vision tower makes {config.token_size}")
    return config


def _speech(folder: Path, settings: Settings, shards: list[Shard]) -> SpeechConfig:
    file = folder / "train.yaml"
    train = Settings(_read_yaml(file), file)
    encoder, model = train.inside("encoder_conf"), train.inside("model_conf")
    encoder.inside("overview_conf").only("encoder-layer-config", "subsampling-transformer")
    blocks, data = encoder.inside("para_conf"), train.inside("dataset_conf")
    before, blocks = blocks.inside("subsampling"), blocks.inside("transformer")
    before.only("subsampling-rate", 4)
    blocks.only("transformer-input-layer", "linear")
    blocks.only("transformer-pos-enc-class", "rel-enc")
    blocks.only("transformer-normalize-before", True)
    blocks.only("transformer-concat-after", False)
    blocks.only("transformer-positionwise-layer-type", "linear")
    model.only("adpter_type", "subsampling")
    model.only("add_audio_bos_eos", False)
    bank = data.inside("fbank_conf")
    mel_bins = bank.get("num_mel_bins", int)
    if train.get("input_dim", int, mel_bins) != mel_bins:
        raise CheckpointError(f"{file}: input_dim is not the number of mel bins, {mel_bins}")
    between = before.get("subsampling-output-dim", int)
    first = next(
        (s.tensors[key] for s in shards if (key := f"{AUDIO}encoder.enc.0.core.conv.0.weight") in s.tensors), None
    )
    prompted = settings.get("audio_prompt_finetune", bool, True)
    return SpeechConfig(
        sample_rate=data.inside("resample_conf").get("resample_rate", int),
        num_mel_bins=mel_bins,
        frame_length_ms=bank.get("frame_length", (int, float)),
        frame_shift_ms=bank.get("frame_shift", (int, float)),
        conv_channels=first[1][0] if first else between,
        subsampled_size=between,
        hidden_size=blocks.get("transformer-attention-dim", int),
        num_layers=blocks.get("transformer-num-blocks", int),
        num_heads=blocks.get("transformer-attention-heads", int),
        intermediate_size=blocks.get("transformer-linear-units", int),
        dropout=blocks.get("transformer-dropout-rate", (int, float), 0.1),
        chunk_size=blocks.get("transformer-chunk_size", int, -1),
        left_chunks=blocks.get("transformer-left_chunks", int, -1),
        dynamic_chunks=blocks.get("transformer-dynamic-chunks", bool, False),
        adapter_kernel=model.get("kernel_size", int),
        adapter_norm=model.get("norm", str, "batch"),
        adapter_activation=model.get("activation_func", str, "relu"),
        num_prompt_embeddings=settings.get("audio_prompt_num", int) if prompted else 0,
    )


def _speech_decoder(file: Path) -> SpeechDecoderConfig:
    content = read_json(file)
    if not isinstance(content, list) or len(content) != 3:
        raise CheckpointError(f"{file} is not [input size, codec tokens, settings]")
    size, num_codes, values = content
    sizes = Settings(values, file)
    sizes.only("transformer_attention_dim", size)
    blocks = sizes.get("transformer_num_blocks", int)
    return SpeechDecoderConfig(
        hidden_size=size,
        intermediate_size=sizes.get("transformer_linear_units", int),
        num_heads=sizes.get("transformer_attention_heads", int),
        nar_layers=blocks // 2,
        ar_layers=blocks,
        num_codes=num_codes,
        dropout=sizes.get("transformer_dropout_rate", (int, float), 0.0),
        position="plain",
        top_k=2,
        chunk_tokens=40,
        overlap_tokens=10,
    )


def _codec(file: Path) -> HifiganCodecConfig:
    sizes = Settings(read_json(file), file)
    speaker = sizes.get("global_tokens", list)
    if len(speaker) != sizes.get("global_code_num", int):
        raise CheckpointError(
            f"{file}: the released speaker has {len(speaker)} tokens, not {sizes.values['global_code_num']}"
        )
    return HifiganCodecConfig(
        sample_rate=sizes.get("sampling_rate", int, 24_000),
        num_codes=sizes.get("n_codes", int),
        resblock=sizes.get("resblock", str),
        upsample_rates=sizes.get("upsample_rates", list),
        upsample_kernel_sizes=sizes.get("upsample_kernel_sizes", list),
        upsample_initial_channel=sizes.get("upsample_initial_channel", int),
        resblock_kernel_sizes=sizes.get("resblock_kernel_sizes", list),
        resblock_dilation_sizes=sizes.get("resblock_dilation_sizes", list),
        num_code_groups=sizes.get("n_code_groups", int, 1),
        num_residual_layers=sizes.get("residul_layer", int, 1),
        num_speaker_tokens=sizes.get("global_code_num", int),
        speaker_codes=sizes.get("n_codes", int),
        global_feature_conv=sizes.get("global_feature_conv", list),
        default_speaker=speaker,
    )


def _parts(
    folder: Path, config: ParleyConfig, shards: list[Shard]
) -> tuple[dict[str, Naming], dict[str, dict[str, Tensor]]]:
    """The naming of every part, and the tensors that do not come from the shards."""
    given: dict[str, dict[str, Tensor]] = {}
    # Trained on, the mean and deviation are among the weights; else they are computed from their file.
    if not any(f"{AUDIO}encoder.global_cmvn.mean" in shard.tensors for shard in shards):
        names = Settings(read_json(folder / "config.json"), folder / "config.json")
        given["speech_encoder"] = _statistics(folder / _named(names, "mm_audio_encoder") / "global_cmvn")
    if config.speech.num_prompt_embeddings == 0:
        given["speech_prompt"] = {"vectors": torch.zeros(0, config.language.hidden_size)}
    codec = config.codec
    parts = {
        "vision_encoder": original_internvit(VISION),
        "vision_adapter": renamed("model.mm_projector.", ()),
        "speech_encoder": renamed(f"{AUDIO}encoder.", SPEECH_ENCODER),
        "speech_adapter": renamed(f"{AUDIO}adpter.", SPEECH_ADAPTER),
        "speech_prompt": renamed(AUDIO, SPEECH_PROMPT),
        "language": renamed("", ()),
        "speech_decoder": renamed(DECODER, SPEECH_DECODER),
        "codec_encoder": codec_encoder(f"{CODEC}encoder.", codec.resblock),
        "codec_decoder": codec_decoder(CODEC, codec.num_code_groups, codec.resblock),
    }
    return parts, given


def _statistics(file: Path) -> dict[str, Tensor]:
    """Mean and inverse deviation of each mel bin from the sums in `global_cmvn`."""
    sums = Settings(read_json(file), file)
    count = sums.get("frame_num", (int, float))
    mean = torch.tensor(sums.get("mean_stat", list), dtype=torch.float64) / count
    square = torch.tensor(sums.get("var_stat", list), dtype=torch.float64) / count
    variance = (square - mean * mean).clamp(min=1e-20)
    return {"mean": mean.float(), "istd": variance.rsqrt().float()}


def _read_yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} is not YAML: {json.dumps(str(error))}") from None
