"""Models from checkpoints: every tensor, no memory twice, never two checkpoints in one model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from parley.checkpoints import Checkpoint, CheckpointError, load_model, loading, save_stage
from parley.checkpoints.loading import UnallocatedParameters, load_into
from parley.config import ParleyConfig
from parley.models.parley import Parley, build_part

VISION = ("vision_encoder", "vision_adapter")


def save(path: Path, model: Parley, **facts) -> None:
    parts = {name: part.state_dict() for name, part in model.named_children()}
    save_stage(path, stage="x", config=model.config, parts=parts, **facts)


def test_a_model_has_only_the_parts_it_was_asked_for(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint, parts=VISION)
    assert [name for name, _ in model.named_children()] == list(VISION)
    assert model.language is None


def test_loading_gives_back_every_tensor(tiny_config: ParleyConfig, tiny_tokenizer, tmp_path: Path) -> None:
    tied = tiny_config.model_copy(
        update={"language": tiny_config.language.model_copy(update={"tie_word_embeddings": True})}
    )
    for config in (tiny_config, tied):
        model = Parley(config)
        save(tmp_path / "saved", model, tokenizer=tiny_tokenizer)
        loaded = load_model(Checkpoint.open(tmp_path / "saved"))
        before, after = model.state_dict(), loaded.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert not any(tensor.is_meta for tensor in (*loaded.parameters(), *loaded.buffers()))
        head, table = loaded.language.lm_head.weight, loaded.language.get_input_embeddings().weight
        assert (head is table) == config.language.tie_word_embeddings
        assert loaded.tokenizer.to_str() == tiny_tokenizer.to_str() and not loaded.training


def test_buffers_that_no_file_holds_keep_their_values(tiny_config: ParleyConfig, tiny_checkpoint: Path) -> None:
    """Rotary frequencies of the language model, windows and filters of the codec."""
    built, loaded = Parley(tiny_config), load_model(tiny_checkpoint)
    computed = {name for name, _ in built.named_buffers()} - built.state_dict().keys()
    assert {"codec_encoder.window", "codec_encoder.filters", "codec_decoder.generator.window"} < computed
    assert any("inv_freq" in name for name in computed)
    assert all(torch.equal(built.get_buffer(name), loaded.get_buffer(name)) for name in computed)


def test_building_takes_no_memory_for_weights_in_its_own_thread_only() -> None:
    with UnallocatedParameters(), ThreadPoolExecutor(1) as other:
        inside, outside = torch.nn.Linear(4, 4), other.submit(torch.nn.Linear, 4, 4).result()
    assert inside.weight.is_meta and not outside.weight.is_meta


def test_loading_in_half_precision(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint, parts=("vision_adapter",), dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_folder_replaced_while_it_is_loaded_never_gives_a_mix(
    tiny_config: ParleyConfig, tmp_path: Path, monkeypatch
) -> None:
    """A service that starts while a trainer replaces the checkpoint gets an error, not parts of both."""
    save(tmp_path / "served", Parley(tiny_config, VISION))

    def load_and_replace(module: torch.nn.Module, state: dict, part: str) -> None:
        load_into(module, state, part)
        if part == "vision_encoder":
            save(tmp_path / "served", Parley(tiny_config, VISION))

    monkeypatch.setattr(loading, "load_into", load_and_replace)
    with pytest.raises(CheckpointError, match=r"^vision_adapter: .* was replaced while it was read; open it again$"):
        load_model(tmp_path / "served", VISION)


def test_tensors_that_do_not_fit_are_all_named(tiny_config: ParleyConfig, tmp_path: Path) -> None:
    state = build_part("state_head", tiny_config).state_dict()
    bad = {"weight": state["weight"][:, :5], "extra": torch.zeros(1)}
    save_stage(tmp_path / "bad", stage="x", config=tiny_config, parts={"state_head": bad})
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path / "bad")
    assert str(caught.value) == (
        "state_head does not fit the config: missing bias; unexpected extra; weight is [3, 5], not [3, 48]"
    )


def test_a_missing_part_is_named(tiny_config: ParleyConfig, tmp_path: Path) -> None:
    save_stage(tmp_path / "few", stage="x", config=tiny_config, parts={})
    with pytest.raises(CheckpointError, match="has no language, state_head"):
        load_model(tmp_path / "few", parts=("language", "state_head"))


def test_loading_into_a_part_keeps_what_is_frozen(tiny_checkpoint: Path, tiny_config: ParleyConfig) -> None:
    part = build_part("vision_adapter", tiny_config).requires_grad_(False)
    load_into(part, Checkpoint.open(tiny_checkpoint).state_dict("vision_adapter"), "vision_adapter")
    assert not any(p.requires_grad for p in part.parameters())
