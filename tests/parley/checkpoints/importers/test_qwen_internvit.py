"""Starting from Qwen2 and InternViT folders: the same outputs as the reference classes, in every layout."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import InternVLVisionConfig, InternVLVisionModel, Qwen2Config, Qwen2ForCausalLM

from parley.checkpoints import Checkpoint, load_model
from parley.checkpoints.importers.qwen_internvit import fitted_decoder, init_pretrained
from parley.config import PARTS, SpeechDecoderConfig, preset
from parley.models.vision import pixel_shuffle

# As Qwen2.5's: a default system message, and ChatML.
TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_llm(folder: Path, tokenizer: Tokenizer, tied: bool = False, **more) -> Qwen2ForCausalLM:
    torch.manual_seed(1)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=336, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=tied,
            rope_parameters={"rope_type": "default", "rope_theta": 3e5}, bos_token_id=None, eos_token_id=None,
        )
    ).eval()  # fmt: skip
    model.save_pretrained(folder, max_shard_size="100KB", **more)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    stops = [tokenizer.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>")]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}))
    return model


def save_vision(folder: Path, layout: str) -> InternVLVisionModel:
    torch.manual_seed(2)
    model = InternVLVisionModel(
        InternVLVisionConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=56,
            patch_size=14, attention_bias=True, use_qk_norm=layout == "original", layer_scale_init_value=0.3,
        )
    ).eval()  # fmt: skip
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    if layout == "original":
        write_original(folder, model)
    elif layout == "inside a larger model":
        tensors = {f"model.vision_tower.{key}": t for key, t in load_file(folder / "model.safetensors").items()}
        save_file(tensors | {"model.language_model.norm.weight": torch.ones(3)}, folder / "model.safetensors")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({"model_type": "internvl", "vision_config": config}))
    return model


def write_original(folder: Path, model: InternVLVisionModel) -> None:
    """The same weights as the first publication has them, its names written out here."""
    state, old = model.state_dict(), {}
    old["embeddings.class_embedding"] = state["embeddings.cls_token"]
    old["embeddings.position_embedding"] = state["embeddings.position_embeddings"]
    for kind in ("weight", "bias"):
        old[f"embeddings.patch_embedding.{kind}"] = state[f"embeddings.patch_embeddings.projection.{kind}"]
    for i in range(2):
        ours, theirs = f"encoder.layer.{i}.", f"encoder.layers.{i}."
        for kind in ("weight", "bias"):
            fused = [state[f"{ours}attention.{x}_proj.{kind}"] for x in "qkv"]
            old[f"{theirs}attn.qkv.{kind}"] = torch.cat(fused)
            names = {"attn.proj": "attention.projection_layer", "norm1": "layernorm_before", "norm2": "layernorm_after"}
            for new, name in (names | {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}).items():
                old[f"{theirs}{new}.{kind}"] = state[f"{ours}{name}.{kind}"]
        for x in "qk":
            old[f"{theirs}attn.{x}_norm.weight"] = state[f"{ours}attention.{x}_norm.weight"]
        for n in (1, 2):
            old[f"{theirs}ls{n}"] = state[f"{ours}lambda_{n}"]
    save_file({key: tensor.clone() for key, tensor in old.items()}, folder / "model.safetensors")
    config = {
        "model_type": "intern_vit_6b", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 48, "image_size": 56, "patch_size": 14, "qkv_bias": True, "qk_normalization": True,
        "norm_type": "layer_norm", "hidden_act": "gelu", "layer_norm_eps": 1e-6,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.4, 0.5, 0.6]}))


@pytest.fixture
def nano_sizes(monkeypatch):
    """The small preset stands for `vita-7b`, whose fresh speech encoder alone would take seconds to make."""
    monkeypatch.setattr(
        "parley.checkpoints.importers.qwen_internvit.preset",
        lambda name: preset("nano") if name == "vita-7b" else preset(name),
    )


@pytest.mark.parametrize(("layout", "tied"), [("original", True), ("native", False), ("inside a larger model", False)])
@torch.no_grad()
def test_outputs_equal_the_reference_classes(
    tmp_path: Path, chatml_tokenizer: Tokenizer, nano_sizes, layout: str, tied: bool
) -> None:
    llm = save_llm(tmp_path / "llm", chatml_tokenizer, tied)
    vision = save_vision(tmp_path / "vision", layout)
    manifest = init_pretrained("vita-7b", tmp_path / "llm", tmp_path / "vision", tmp_path / "out")
    model = load_model(tmp_path / "out")
    ids, pixels = torch.randint(0, 336, (2, 17)), torch.randn(3, 3, 56, 56)
    torch.testing.assert_close(model.language(ids).logits, llm(ids).logits, rtol=1e-5, atol=1e-5)
    patches = vision(pixels).last_hidden_state[:, 1:]
    torch.testing.assert_close(model.vision_encoder(pixels), pixel_shuffle(patches, 2), rtol=1e-5, atol=1e-5)
    assert manifest.config.vision.image_mean == ((0.4, 0.5, 0.6) if layout == "original" else (0.5, 0.5, 0.5))
    assert model.config.language.rope_theta == 3e5 and model.config.language.tie_word_embeddings == tied


def test_all_parts_are_there_and_it_converses(tmp_path: Path, chatml_tokenizer: Tokenizer, nano_sizes) -> None:
    save_llm(tmp_path / "llm", chatml_tokenizer)
    save_vision(tmp_path / "vision", "native")
    init_pretrained("vita-7b", tmp_path / "llm", tmp_path / "vision", tmp_path / "out", seed=5)
    init_pretrained("vita-7b", tmp_path / "llm", tmp_path / "vision", tmp_path / "again", seed=5)
    one, again = Checkpoint.open(tmp_path / "out").manifest, Checkpoint.open(tmp_path / "again").manifest
    assert tuple(one.parts) == tuple(part for part in PARTS if part != "end_of_turn_head")
    assert {part: ref.sha256 for part, ref in one.parts.items()} == {p: ref.sha256 for p, ref in again.parts.items()}
    assert one.data["from"] == {"language": "llm", "vision_encoder": "vision"}
    reply = load_model(tmp_path / "out").reply([{"role": "user", "content": "hello"}], max_tokens=3, always=True)
    assert len(reply.token_ids) <= 3


@pytest.mark.parametrize(
    ("language", "width", "heads"),
    [(3584, 896, 14), (896, 896, 14), (1536, 768, 12), (2048, 512, 8), (5120, 640, 10), (64, 64, 1), (48, 48, 1)],
)
def test_the_speech_decoder_fits_any_language_model(language: int, width: int, heads: int) -> None:
    fitted = fitted_decoder(preset("vita-7b").speech_decoder, language)
    assert (fitted.hidden_size, fitted.num_heads) == (width, heads)
    assert isinstance(fitted, SpeechDecoderConfig) and language % width == 0


def test_bad_folders_are_refused_and_leave_nothing(tmp_path: Path, chatml_tokenizer: Tokenizer, nano_sizes) -> None:
    llm, vision = tmp_path / "llm", tmp_path / "vision"
    save_llm(llm, chatml_tokenizer)
    save_vision(vision, "native")

    def refused(**folders: Path) -> str:
        with pytest.raises(ValueError) as caught:
            init_pretrained(**({"name": "vita-7b", "llm": llm, "vision": vision, "out": tmp_path / "out"} | folders))
        assert {path.name for path in tmp_path.iterdir()} == {"llm", "vision"}
        return str(caught.value)

    assert "no preset 'vita-8b'; there are: nano, vita-small, vita-7b" in refused(name="vita-8b")
    assert refused(name="no.json") == "cannot read no.json: No such file or directory"
    sizes = json.loads(preset("nano").model_dump_json())
    (vision / "sizes.json").write_text(json.dumps(sizes | {"speech": sizes["speech"] | {"hidden_size": "wide"}}))
    assert re.search(r"sizes.json: speech.hidden_size: .* integer", refused(name=str(vision / "sizes.json")))
    assert "is not a folder" in refused(llm=tmp_path / "nowhere")
    assert "is no Qwen2: its config.json is of internvl_vision" in refused(llm=vision)
    assert "holds no InternViT" in refused(vision=llm)
    shard = sorted(llm.glob("*.safetensors"))[0]
    tensors = load_file(shard)
    lost = sorted(tensors)[0]
    save_file({k: v for k, v in tensors.items() if k != lost} | {"model.odd": torch.zeros(1)}, shard)
    assert refused() == f"2 tensors do not fit: missing {lost}; unexpected model.odd"
    shard.write_bytes(shard.read_bytes()[:-9])
    assert re.search(rf"{shard.name} cannot be read", refused())
    (llm / "tokenizer.json").unlink()
    assert "has no tokenizer" in refused()
