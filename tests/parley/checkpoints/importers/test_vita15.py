"""The published VITA-1.5 layout: foreign values reproduced, other sizes, what is refused, how much memory it takes."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from parley.checkpoints import Checkpoint, CheckpointError, load_model
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
from parley.checkpoints.importers.vita15 import AUDIO, VISION, import_published
from parley.checkpoints.importers.vita15_check import INPUTS, check
from parley.config import (
    HifiganCodecConfig,
    LanguageConfig,
    ParleyConfig,
    SpeechConfig,
    SpeechDecoderConfig,
    VisionConfig,
)
from parley.models.filter_bank import fbank
from parley.models.parley import Parley
from parley.models.speech import SpeechAdapter

FIXTURE = Path(__file__).parents[3] / "fixtures" / "vita15-tiny"
AUDIO_FOLDER = "audio-encoder-Qwen2-7B-1107-weight-base-11wh-tunning"
SHARD = "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "vita"
    import_published(FIXTURE, out)
    return out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the fixture to damage."""
    return Path(shutil.copytree(FIXTURE, tmp_path / "vita15", copy_function=os.symlink))


def rewrite(file: Path, data: bytes | str) -> None:
    """New content in a new file: those of the copy are links to the fixture's."""
    file.unlink()
    file.write_bytes(data if isinstance(data, bytes) else data.encode())


def edit_json(file: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    rewrite(file, json.dumps(content))


def edit_shard(file: Path, change: Callable[[dict], None]) -> None:
    tensors = load_file(file)
    change(tensors)
    file.unlink()
    save_file(tensors, file, {"format": "pt"})


def test_every_tensor_that_the_published_code_computed_is_reproduced(imported: Path) -> None:
    rows = check(imported, FIXTURE / "expected.safetensors")
    assert {row.name for row in rows} == load_file(FIXTURE / "expected.safetensors").keys() - INPUTS
    assert len(rows) == 22
    assert not [row for row in rows if not row.ok]


def test_what_is_not_reproduced_is_found(imported: Path, tmp_path: Path) -> None:
    expected = load_file(FIXTURE / "expected.safetensors")
    expected["llm.logits"][0, 3, 5] += 0.01
    expected["llm.greedy_ids"][2] += 1
    expected["codec.latents"] = expected["codec.latents"][:, :, :-1].contiguous()
    expected["vision.dream"] = torch.zeros(3)
    expected["speech.fbank"][5, 5] = torch.nan
    del expected["decoder.text_ids"]
    save_file(expected, tmp_path / "expected.safetensors")
    wrong = {row.name: row for row in check(imported, tmp_path / "expected.safetensors") if not row.ok}
    decoder = {f"decoder.{name}" for name in ("hidden_in", "nar_out", "teacher_logits", "greedy_tokens")}
    assert wrong.keys() == decoder | {
        "llm.logits", "llm.greedy_ids", "codec.latents", "vision.dream", "speech.fbank",
    }  # fmt: skip
    assert wrong["llm.logits"].error == pytest.approx(0.01, rel=1e-2)
    assert wrong["codec.latents"].note == "[1, 512, 50] instead of [1, 512, 49]"
    assert wrong["decoder.nar_out"].note == "cannot be computed without decoder.text_ids"


@pytest.mark.parametrize(
    ("silent", "difference", "ok"),
    [(True, 1.7e-3, True), (True, 16.0, False), (False, 3e-3, False), (False, -3e-3, False)],
)
def test_energies_are_compared_relative_to_their_frame(
    imported: Path, tmp_path: Path, silent: bool, difference: float, ok: bool
) -> None:
    """In float32 a bin with a billionth of its frame's energy is right to some thousandths; others are better."""
    given = load_file(FIXTURE / "expected.safetensors")
    expected = {name: given[name] for name in ("speech.waveform", "speech.batch", "speech.lengths")}
    features = fbank(given["speech.waveform"], Checkpoint.open(imported).config.speech)
    frame, band = divmod(int(features.argmin()), features.shape[1])
    features[frame, band if silent else features[frame].argmax()] += difference
    save_file(expected | {"speech.fbank": features}, tmp_path / "expected.safetensors")
    [row] = check(imported, tmp_path / "expected.safetensors")
    assert (row.name, row.ok) == ("speech.fbank", ok)
    assert row.error == pytest.approx(abs(difference), rel=1e-3)


def test_the_manifest_tells_where_it_comes_from(imported: Path) -> None:
    manifest = Checkpoint.open(imported).manifest
    assert manifest.stage == "imported" and manifest.licence.startswith("research only")
    assert manifest.config.language.state == "tokens"
    assert manifest.config.codec.default_speaker == (15, 28, 12, 60, 27, 37, 1, 9)
    assert set(manifest.parts) == {
        "vision_encoder", "vision_adapter", "speech_encoder", "speech_adapter", "speech_prompt", "language",
        "speech_decoder", "codec_encoder", "codec_decoder",
    }  # fmt: skip


def test_types_stay_as_published(imported: Path) -> None:
    assert Checkpoint.open(imported).state_dict("language")["model.norm.weight"].dtype == torch.float16
    assert Checkpoint.open(imported).state_dict("speech_encoder")["mean"].dtype == torch.float32


def test_with_a_tokenizer_it_converses_and_tells_its_state(folder: Path, tmp_path: Path, chatml_tokenizer) -> None:
    chatml_tokenizer.save(str(folder / "tokenizer.json"))
    import_published(folder, tmp_path / "out")
    model = load_model(tmp_path / "out")
    speech = {"type": "audio", "audio": np.random.default_rng(0).normal(size=16_000).astype(np.float32) * 0.1}
    messages = [{"role": "user", "content": [speech, {"type": "text", "text": "hello"}]}]
    reply = model.reply(messages, max_tokens=4, always=True)
    assert reply.state in ("speech", "text", "nothing") and sum(reply.probabilities) == pytest.approx(1)
    assert len(reply.token_ids) == 4 and len(reply.audio) % 600 == 0


# Other sizes than the fixture's


def variant() -> ParleyConfig:
    """Everything that can differ does: norm, activation, chunks, kernels, rates, groups, residual rounds, ties."""
    return ParleyConfig(
        name="variant",
        vision=VisionConfig(
            image_size=48, patch_size=12, hidden_size=24, num_layers=1, num_heads=2, intermediate_size=40,
            norm="rms_norm", qkv_bias=False, qk_norm=True, feature_scale=0.5, image_mean=(0.1, 0.2, 0.3),
        ),
        speech=SpeechConfig(
            num_mel_bins=40, conv_channels=6, subsampled_size=20, hidden_size=16, num_layers=3, num_heads=2,
            intermediate_size=24, chunk_size=5, left_chunks=2, adapter_kernel=3, adapter_norm="layer",
            adapter_activation="gelu", num_prompt_embeddings=3, dropout=0.1,
        ),
        language=LanguageConfig(
            vocab_size=100, hidden_size=48, intermediate_size=64, num_layers=3, num_heads=6, num_kv_heads=3,
            rope_theta=5e5, tie_word_embeddings=True, state="tokens",
        ),
        speech_decoder=SpeechDecoderConfig(
            hidden_size=16, intermediate_size=24, num_heads=2, nar_layers=1, ar_layers=3, num_codes=20, top_k=2,
            dropout=0.1,
        ),
        codec=HifiganCodecConfig(
            num_codes=20, resblock="2", upsample_rates=(4, 4, 2, 2), upsample_kernel_sizes=(8, 6, 4, 6),
            upsample_initial_channel=256, resblock_kernel_sizes=(3, 5), resblock_dilation_sizes=((1, 2), (2, 6)),
            num_code_groups=2, num_residual_layers=2, num_speaker_tokens=4, speaker_codes=20,
            global_feature_conv=(128, 32, 128, 5, 1), default_speaker=(3, 1, 4, 1),
        ),
    )  # fmt: skip


def publish(model: Parley, folder: Path) -> None:
    """Writes a model of ours as its makers would have published it."""
    c = model.config
    for name in ("vision", "audio", "vita_tts_ckpt/decoder", "vita_tts_ckpt/codec"):
        (folder / name).mkdir(parents=True)
    config = {
        "model_type": "vita-Qwen2", "hidden_act": "silu", "mm_projector_type": "mlp2x_gelu",
        "vocab_size": c.language.vocab_size, "hidden_size": c.language.hidden_size,
        "intermediate_size": c.language.intermediate_size, "num_hidden_layers": c.language.num_layers,
        "num_attention_heads": c.language.num_heads, "num_key_value_heads": c.language.num_kv_heads,
        "rope_theta": c.language.rope_theta, "max_position_embeddings": c.language.max_position_embeddings,
        "tie_word_embeddings": c.language.tie_word_embeddings, "mm_hidden_size": c.vision.token_size,
        "mm_vision_tower": "/where/it/was/trained/vision", "mm_audio_encoder": "audio",
        "audio_prompt_finetune": True, "audio_prompt_num": c.speech.num_prompt_embeddings,
    }  # fmt: skip
    vision = {
        "model_type": "intern_vit_6b", "hidden_act": "gelu", "image_size": c.vision.image_size,
        "patch_size": c.vision.patch_size, "hidden_size": c.vision.hidden_size, "qkv_bias": c.vision.qkv_bias,
        "num_hidden_layers": c.vision.num_layers, "num_attention_heads": c.vision.num_heads,
        "intermediate_size": c.vision.intermediate_size, "norm_type": c.vision.norm,
        "qk_normalization": c.vision.qk_norm,
    }  # fmt: skip
    train = {
        "input_dim": c.speech.num_mel_bins,
        "dataset_conf": {
            "fbank_conf": {"num_mel_bins": c.speech.num_mel_bins, "frame_length": 25, "frame_shift": 10},
            "resample_conf": {"resample_rate": 16000},
        },
        "encoder_conf": {
            "overview_conf": {"encoder-layer-config": "subsampling-transformer"},
            "para_conf": {
                "subsampling": {"subsampling-output-dim": c.speech.subsampled_size, "subsampling-rate": 4},
                "transformer": {
                    "transformer-attention-dim": c.speech.hidden_size, "transformer-pos-enc-class": "rel-enc",
                    "transformer-num-blocks": c.speech.num_layers, "transformer-chunk_size": c.speech.chunk_size,
                    "transformer-attention-heads": c.speech.num_heads, "transformer-left_chunks": c.speech.left_chunks,
                    "transformer-linear-units": c.speech.intermediate_size, "transformer-dynamic-chunks": False,
                },
            },
        },
        "model_conf": {
            "adpter_type": "subsampling", "kernel_size": c.speech.adapter_kernel, "norm": c.speech.adapter_norm,
            "activation_func": c.speech.adapter_activation,
        },
    }  # fmt: skip
    d = c.speech_decoder
    decoder = [d.hidden_size, d.num_codes, {
        "transformer_attention_dim": d.hidden_size, "transformer_linear_units": d.intermediate_size,
        "transformer_num_blocks": d.ar_layers, "transformer_attention_heads": d.num_heads,
        "transformer_dropout_rate": d.dropout,
    }]  # fmt: skip
    sizes = c.codec.model_dump(mode="json")
    theirs = {
        "n_codes": "num_codes", "n_code_groups": "num_code_groups", "residul_layer": "num_residual_layers",
        "global_code_num": "num_speaker_tokens", "global_tokens": "default_speaker", "sampling_rate": "sample_rate",
    }  # fmt: skip
    same = ("resblock", "upsample_rates", "upsample_kernel_sizes", "upsample_initial_channel", "global_feature_conv")
    kernels = ("resblock_kernel_sizes", "resblock_dilation_sizes")
    codec = {key: sizes[name] for key, name in theirs.items()} | {key: sizes[key] for key in (*same, *kernels)}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vision/config.json").write_text(json.dumps(vision))
    (folder / "vision/preprocessor_config.json").write_text(json.dumps({"image_mean": c.vision.image_mean}))
    (folder / "audio/train.yaml").write_text(yaml.safe_dump(train))
    (folder / "vita_tts_ckpt/decoder/model.json").write_text(json.dumps(decoder))
    (folder / "vita_tts_ckpt/codec/model.json").write_text(json.dumps(codec))
    namings = {
        "vision_encoder": original_internvit(VISION), "vision_adapter": renamed("model.mm_projector.", ()),
        "speech_encoder": renamed(f"{AUDIO}encoder.", SPEECH_ENCODER), "language": renamed("", ()),
        "speech_adapter": renamed(f"{AUDIO}adpter.", SPEECH_ADAPTER), "speech_prompt": renamed(AUDIO, SPEECH_PROMPT),
        "speech_decoder": renamed("decoder/", SPEECH_DECODER),
        "codec_encoder": codec_encoder("codec/encoder.", c.codec.resblock),
        "codec_decoder": codec_decoder("codec/", c.codec.num_code_groups, c.codec.resblock),
    }  # fmt: skip
    found: dict[str, list[torch.Tensor]] = {}
    for part, naming in namings.items():
        for name, tensor in model.get_submodule(part).state_dict().items():
            found.setdefault(naming(name).key, []).append(tensor)  # query, key and value come in this order
    weights = {key: torch.cat(thirds) if len(thirds) > 1 else thirds[0].clone() for key, thirds in found.items()}
    shards = {key: tensor for key, tensor in weights.items() if not key.startswith(("decoder/", "codec/"))}
    save_file(shards, folder / "model.safetensors")
    pick = {key.removeprefix("decoder/"): t for key, t in weights.items() if key.startswith("decoder/")}
    torch.save(pick, folder / "vita_tts_ckpt/decoder/final.pt")
    nested: dict[str, dict] = {"encoder": {}, "generator": {}, "quantizer": {}}
    for key, tensor in weights.items():
        if key.startswith("codec/"):
            group, _, rest = key.removeprefix("codec/").partition(".")
            nested[group][rest] = tensor
    torch.save(nested, folder / "vita_tts_ckpt/codec/final.pt")


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> tuple[Parley, Path]:
    """A model of other sizes, and the folder it was published as."""
    torch.manual_seed(3)
    model = Parley(variant()).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm | torch.nn.RMSNorm | torch.nn.GroupNorm | torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.weight)
    model.speech_encoder.mean.normal_()
    folder = tmp_path_factory.mktemp("other") / "vita15"
    publish(model, folder)
    return model, folder


def test_other_sizes_come_from_the_files_alone(other: tuple[Parley, Path], tmp_path: Path) -> None:
    model, folder = other
    manifest = import_published(folder, tmp_path / "out")
    assert manifest.config.model_copy(update={"name": "variant"}) == model.config
    loaded = load_model(tmp_path / "out")
    state = loaded.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_the_check_holds_for_other_sizes(other: tuple[Parley, Path], tmp_path: Path) -> None:
    model, folder = other
    import_published(folder, tmp_path / "out")
    torch.manual_seed(4)
    inputs = {
        "vision.pixel_values": torch.randn(2, 3, 48, 48),
        "speech.waveform": torch.randn(9000) * 0.1,
        "speech.batch": torch.randn(2, 90, 40),
        "speech.lengths": torch.tensor([90, 61]),
        "llm.input_ids": torch.tensor([[5, -200, 7, -500, -200, 9]]),
        "decoder.text_ids": torch.tensor([3, 1, 4]),
        "decoder.teacher_tokens": torch.tensor([1, 5, 9, 2]),
        "codec.waveform": torch.randn(64 * 10) * 0.1,
        "codec.decode_tokens": torch.randint(0, 20, (1, 9, 4)),
    }
    with torch.inference_mode():
        tokens = model.vision_encoder(inputs["vision.pixel_values"])
        frames, lengths = model.speech_encoder(inputs["speech.batch"], inputs["speech.lengths"])
        picture, (speech, _) = model.vision_adapter(tokens), model.speech_adapter(frames, lengths)
        table = model.language.get_input_embeddings().weight
        spliced = [table[5:6], picture[0], table[7:8], model.speech_prompt.vectors, speech[0], picture[1], table[9:10]]
        spliced = torch.cat(spliced)[None]
        outputs = {
            "vision.encoder_out": tokens,
            "speech.encoder_out": frames,
            "speech.adapter_out": speech,
            "llm.inputs_embeds": spliced,
            "llm.logits": model.language(inputs_embeds=spliced).logits,
            "codec.decoded_voice": model.codec_decoder(inputs["codec.decode_tokens"], torch.tensor([[3, 1, 4, 1]]))[
                None
            ],
        }
    save_file({k: v.contiguous() for k, v in (inputs | outputs).items()}, tmp_path / "expected.safetensors")
    rows = check(tmp_path / "out", tmp_path / "expected.safetensors")
    assert {row.name for row in rows} == outputs.keys()
    assert not [row for row in rows if not row.ok]


def test_keys_of_other_layouts_are_the_published_ones(other: tuple[Parley, Path]) -> None:
    """The names of what the fixture has not: they are written out here, not made by the code under test."""
    codec = torch.load(other[1] / "vita_tts_ckpt/codec/final.pt", weights_only=True)
    assert "resblocks.0.convs.1.weight_g" in codec["encoder"] and "resblocks.7.convs.0.bias" in codec["generator"]
    books = {f"quantizer_modules{n}.{i}.embedding.weight" for n in ("", "2") for i in (0, 1)}
    books |= {f"quantizer_modules_globaltokens.{i}.embedding.weight" for i in range(4)}
    assert codec["quantizer"].keys() == books
    keys = load_file(other[1] / "model.safetensors").keys()
    block = "model.vision_tower.vision_tower.encoder.layers.0."
    assert {f"{block}attn.q_norm.weight", f"{block}attn.qkv.weight", f"{block}norm1.weight"} <= keys
    assert not {f"{block}attn.qkv.bias", f"{block}norm1.bias", "model.audio_encoder.adpter.bn2.running_mean"} & keys


@torch.no_grad()
def test_the_adapter_with_layer_norm_and_gelu_is_the_described_one(other: tuple[Parley, Path]) -> None:
    """Step by step as the fixture's README tells it."""
    adapter: SpeechAdapter = other[0].speech_adapter
    weights = load_file(other[1] / "model.safetensors")
    w = {k.removeprefix("model.audio_encoder.adpter."): v for k, v in weights.items() if ".adpter." in k}
    frames, lengths = torch.randn(2, 11, 16), torch.tensor([11, 6])
    x = frames.clone()
    x[1, 6:] = 0
    x = torch.cat([x, torch.zeros(2, 2, 16)], 1).transpose(1, 2)
    x = torch.nn.functional.conv1d(x, w["conv1d2.weight"], w["conv1d2.bias"], stride=2).transpose(1, 2)
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    x = (x - mean) / (variance + 1e-3).sqrt() * w["bn2.weight"] + w["bn2.bias"]
    x = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    torch.testing.assert_close(adapter(frames, lengths)[0], x @ w["project.weight"].T + w["project.bias"])


def test_mean_and_deviation_come_from_their_file_where_the_shards_have_none(folder: Path, tmp_path: Path) -> None:
    edit_shard(
        folder / "model-00001-of-00002.safetensors",
        lambda t: [t.pop(f"model.audio_encoder.encoder.global_cmvn.{name}") for name in ("mean", "istd")],
    )
    import_published(folder, tmp_path / "out")
    shards = load_file(FIXTURE / "model-00001-of-00002.safetensors")
    for name, tensor in Checkpoint.open(tmp_path / "out").state_dict("speech_encoder").items():
        if name in ("mean", "istd"):
            torch.testing.assert_close(tensor, shards[f"model.audio_encoder.encoder.global_cmvn.{name}"])
    (folder / AUDIO_FOLDER / "global_cmvn").unlink()
    with pytest.raises(CheckpointError, match="global_cmvn: No such file"):
        import_published(folder, tmp_path / "out2")


# Bad input


def refused(folder: Path, tmp_path: Path) -> str:
    """The one line with which a folder is refused; nothing is left of the attempt."""
    before = set(tmp_path.iterdir())
    with pytest.raises(CheckpointError) as caught:
        import_published(folder, tmp_path / "out")
    assert set(tmp_path.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_wrong_keys_are_named_all_in_one_error(folder: Path, tmp_path: Path) -> None:
    def change(tensors: dict) -> None:
        del tensors["model.norm.weight"], tensors["model.audio_encoder.prompt_embeddings.weight"]
        tensors["model.extra.weight"] = torch.zeros(2)
        tensors["model.mm_projector.0.bias"] = torch.zeros(7)
        qkv = "model.vision_tower.vision_tower.encoder.layers.0.attn.qkv.weight"
        tensors[qkv] = tensors[qkv][:-1].contiguous()

    edit_shard(folder / SHARD, change)
    speech = torch.load(folder / "vita_tts_ckpt/decoder/final.pt", weights_only=True)
    speech["layers.9.mlp.up_proj.weight"] = speech.pop("norm.weight")
    (folder / "vita_tts_ckpt/decoder/final.pt").unlink()
    torch.save(speech, folder / "vita_tts_ckpt/decoder/final.pt")
    assert refused(folder, tmp_path) == (
        "7 tensors do not fit: missing model.audio_encoder.prompt_embeddings.weight; missing model.norm.weight; "
        "missing vita_tts_ckpt/decoder/norm.weight; unexpected model.extra.weight; "
        "unexpected vita_tts_ckpt/decoder/layers.9.mlp.up_proj.weight; "
        "model.mm_projector.0.bias is [7], not [128]; "
        "model.vision_tower.vision_tower.encoder.layers.0.attn.qkv.weight is [191, 64], not [192, 64]"
    )


def test_a_tensor_in_two_shards_is_named_with_both(folder: Path, tmp_path: Path) -> None:
    norm = load_file(folder / SHARD)["model.norm.weight"]
    first = "model-00001-of-00002.safetensors"
    edit_shard(folder / first, lambda tensors: tensors.update({"model.norm.weight": norm}))
    assert refused(folder, tmp_path) == (f"1 tensors are in more than one file: model.norm.weight in {first}, {SHARD}")


@pytest.mark.parametrize(
    "name",
    [
        "config.json", "InternViT-300M-448px/config.json", f"{AUDIO_FOLDER}/train.yaml",
        "vita_tts_ckpt/decoder/model.json", "vita_tts_ckpt/decoder/final.pt", "vita_tts_ckpt/codec/model.json",
        "vita_tts_ckpt/codec/final.pt", SHARD,
    ],
)  # fmt: skip
def test_a_file_that_is_missing_or_broken_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).unlink()
    assert Path(name).name in refused(folder, tmp_path)
    for broken in (data[: len(data) // 2], b"", b"\x80\x00", b"\x80\x02."):
        (folder / name).write_bytes(broken)
        assert Path(name).name in refused(folder, tmp_path)
        (folder / name).unlink()


@pytest.mark.parametrize("name", ["vita_tts_ckpt/decoder/final.pt", f"{AUDIO_FOLDER}/final.pt"])
@pytest.mark.parametrize("new", [True, False])
def test_a_file_that_carries_code_is_refused_and_does_not_run(
    folder: Path, tmp_path: Path, name: str, new: bool
) -> None:
    trace = tmp_path / "it-ran"

    class Code:
        def __reduce__(self):
            return os.mkdir, (str(trace),)

    (folder / name).unlink()
    torch.save({"w": Code()}, folder / name, _use_new_zipfile_serialization=new)
    message = refused(folder, tmp_path)
    assert f"{name} is refused: it carries code, posix.mkdir" in message
    (folder / name).write_bytes(pickle.dumps({"w": Code()}))
    assert f"{name} is refused" in refused(folder, tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("config.json", {"model_type": "qwen2"}, "not in the published VITA-1.5 layout: its config.json is of qwen2"),
        ("config.json", {"hidden_size": None}, "hidden_size is None"),
        ("config.json", {"num_attention_heads": 5}, "must divide into 5 heads"),
        ("config.json", {"rope_scaling": {"type": "yarn"}}, "only None is known here"),
        ("config.json", {"mm_projector_type": "linear"}, "only 'mlp2x_gelu' is known here"),
        ("config.json", {"mm_hidden_size": 64}, "mm_hidden_size is 64; the vision tower makes 256"),
        ("InternViT-300M-448px/config.json", {"norm_type": "group"}, "norm: Input should be"),
        ("InternViT-300M-448px/config.json", {"image_size": 60}, "does not divide into patches"),
        ("vita_tts_ckpt/codec/model.json", {"upsample_rates": "8553"}, "upsample_rates is '8553'"),
        ("vita_tts_ckpt/codec/model.json", {"global_tokens": [1, 2]}, "released speaker has 2 tokens, not 8"),
    ],
)
def test_settings_that_are_not_computed_here_are_refused(
    folder: Path, tmp_path: Path, name: str, change: dict, error: str
) -> None:
    edit_json(folder / name, lambda content: content.update(change))
    assert error in refused(folder, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("transformer-pos-enc-class: rel-enc", "transformer-pos-enc-class: abs-enc", "only 'rel-enc' is known"),
        ("transformer-attention-heads: 4", "transformer-attention-heads: 4.5", "transformer-attention-heads is 4.5"),
        ("transformer-num-blocks: 2", "", "lacks encoder_conf.para_conf.transformer.transformer-num-blocks"),
        ("adpter_type: subsampling", "adpter_type: cnn", "only 'subsampling' is known"),
        ("norm: batch", "norm: group", "adapter_norm: Input should be"),
        ("input_dim: 80", "input_dim: [", "is not YAML"),
    ],
)
def test_speech_settings_that_are_not_computed_here_are_refused(
    folder: Path, tmp_path: Path, old: str, new: str, error: str
) -> None:
    file = folder / AUDIO_FOLDER / "train.yaml"
    text = file.read_text()
    assert old in text
    rewrite(file, text.replace(old, new))
    assert error in refused(folder, tmp_path)


def test_a_folder_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "config.json: No such file" in refused(tmp_path / "empty", tmp_path)
    assert "is not a folder" in refused(tmp_path / "nowhere", tmp_path)


def test_what_is_no_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="is no checkpoint; it is left as it is"):
        import_published(FIXTURE, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_memory_stays_small_however_large_the_model(other: tuple[Parley, Path], tmp_path: Path) -> None:
    """Twelve shards of 12 MB pass through a process that grows by less than three of them."""
    folder = Path(shutil.copytree(other[1], tmp_path / "large"))
    sizes = {"hidden_size": 480, "intermediate_size": 1600, "num_hidden_layers": 12, "tie_word_embeddings": False}
    edit_json(folder / "config.json", lambda config: config.update(sizes))
    config = variant().language.model_copy(
        update={"hidden_size": 480, "intermediate_size": 1600, "num_layers": 12, "tie_word_embeddings": False}
    )
    large = variant().model_copy(update={"language": config})
    weights = {
        k: v for k, v in load_file(folder / "model.safetensors").items() if "vision_tower" in k or ".encoder." in k
    }
    with torch.device("meta"):
        model = Parley(large, ("vision_adapter", "speech_adapter", "speech_prompt", "language"))
    namings = {
        "vision_adapter": renamed("model.mm_projector.", ()), "language": renamed("", ()),
        "speech_adapter": renamed(f"{AUDIO}adpter.", SPEECH_ADAPTER), "speech_prompt": renamed(AUDIO, SPEECH_PROMPT),
    }  # fmt: skip
    for part, naming in namings.items():
        state = model.get_submodule(part).state_dict()
        weights |= {naming(name).key: torch.rand(tensor.shape) for name, tensor in state.items()}
    (folder / "model.safetensors").unlink()
    where = {
        key: f"model-{int(key.split('.')[2]) if key.startswith('model.layers') else 0:02}.safetensors"
        for key in weights
    }
    for file in set(where.values()):
        save_file({key: weights[key] for key, name in where.items() if name == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    shards = [file.stat().st_size for file in folder.glob("*.safetensors")]
    assert len(shards) == 12 and sum(shards) > 140e6
    code = (
        "import re, sys; from parley.checkpoints.importers.vita15 import import_published\n"
        "def memory(name): return int(re.search(name + r':\\s+(\\d+)', open('/proc/self/status').read())[1]) * 1024\n"
        "import_published(sys.argv[1], sys.argv[3])  # loads all that is loaded once\n"
        "open('/proc/self/clear_refs', 'w').write('5')  # forgets the peak so far\n"
        "before = memory('VmRSS')\n"
        "import_published(sys.argv[2], sys.argv[4])\n"
        "print(memory('VmHWM') - before)"
    )
    command = [sys.executable, "-c", code, str(other[1]), str(folder), str(tmp_path / "small"), str(tmp_path / "out")]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 3 * max(shards)
    assert torch.equal(
        Checkpoint.open(tmp_path / "out").state_dict("language")["lm_head.weight"], weights["lm_head.weight"]
    )
