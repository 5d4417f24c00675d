"""Building a stage of the recipe: parts from the stages it builds on, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from parley.checkpoints import Checkpoint, load_model, save_stage
from parley.models.parley import Parley
from training.attention import NAME as PACKED
from training.data.world.sentences import all_words
from training.options import Options
from training.recipe import STAGES, Stage, find_stage
from training.stages.build import build_model, build_stage, ctc_words


def test_parts_come_from_the_stage_that_trained_them_last(tmp_path, tiny_config, tiny_tokenizer):
    first = Parley(tiny_config, ("language",))
    save_stage(
        tmp_path / "0.1", stage="0.1", config=tiny_config, tokenizer=tiny_tokenizer,
        parts={"language": first.language.state_dict()},
    )  # fmt: skip
    second = Parley(tiny_config, ("vision_encoder",))
    save_stage(
        tmp_path / "0.2", stage="0.2", config=tiny_config, parts={"vision_encoder": second.vision_encoder.state_dict()}
    )
    parents = [Checkpoint.open(tmp_path / name) for name in ("0.1", "0.2")]
    model = build_model(find_stage("1.1"), tiny_config, parents, 0)
    for part, source in (("language", first), ("vision_encoder", second)):
        for name, tensor in getattr(source, part).state_dict().items():
            assert torch.equal(getattr(model, part).state_dict()[name], tensor)
    save_stage(
        tmp_path / "1.1", stage="1.1", config=tiny_config, parent=tmp_path / "0.1", others=[tmp_path / "0.2"],
        parts={"vision_adapter": model.vision_adapter.state_dict()},
    )  # fmt: skip
    manifest = Checkpoint.open(tmp_path / "1.1").manifest
    assert {name: ref.stage for name, ref in manifest.parts.items()} == {
        "vision_encoder": "0.2", "vision_adapter": "1.1", "language": "0.1",
    }  # fmt: skip
    assert manifest.lineage == ["0.1", "0.2", "1.1"]
    assert load_model(tmp_path / "1.1").tokenizer is not None


def test_a_part_that_is_only_read_must_have_been_trained(tmp_path, tiny_config, tiny_tokenizer):
    stage = Stage(
        name="9", title="", trains=("vision_adapter",), reads=("language",), objective="next_token", nano=None
    )
    with pytest.raises(ValueError, match="stage 9 reads language, which a start of stage 9 does not have"):
        build_model(stage, tiny_config, [], 0)
    encoder = Parley(tiny_config, ("vision_encoder",)).vision_encoder
    save_stage(
        tmp_path / "0.2", stage="0.2", config=tiny_config, tokenizer=tiny_tokenizer,
        parts={"vision_encoder": encoder.state_dict()},
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"stage 9 reads language, which .*/0\.2 does not have"):
        build_model(stage, tiny_config, [Checkpoint.open(tmp_path / "0.2")], 0)


def test_fresh_parts_are_a_function_of_seed_and_stage(tiny_config):
    """Every process makes them, and a resumed stage makes them again."""
    stage = find_stage("0.2")
    one, same, other = (build_model(stage, tiny_config, [], seed).vision_encoder for seed in (0, 0, 1))
    weights = [next(iter(encoder.parameters())) for encoder in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_stage_without_its_parents_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"stage 1\.1 builds on 0\.1, 0\.2, which .* does not have yet"):
        build_stage("1.1", tmp_path, "nano", 0, Options(steps=1))


def test_a_stage_without_a_number_of_steps_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"vita-7b cannot be trained yet: .* no steps for stage 3\.1, "):
        build_stage("3.1", tmp_path, "vita-7b", 0, Options(steps=1))


def test_epochs_of_a_world_without_an_end_are_refused(tmp_path):
    """The stage would end at once, untrained, and be done."""
    with pytest.raises(ValueError, match="no last sample, and so no --epochs; give --steps"):
        build_stage("0.1", tmp_path, "nano", 0, Options(epochs=2))


def test_a_stage_is_built_as_its_options_say(tmp_path):
    options = Options(steps=7, batch=3, lr=1e-3)
    built = build_stage("0.1", tmp_path, "nano", 5, options)
    nano = find_stage("0.1").nano
    assert (built.schedule.steps, built.schedule.batch, built.schedule.lr) == (7, 3, 1e-3)
    assert built.schedule.muon == pytest.approx(nano.muon * 1e-3 / nano.lr)
    assert built.objective.batch_size == 3 and built.objective.seed == built.seed == 5
    assert built.objective.model.language.config._attn_implementation == PACKED
    assert built.identity["recipe"]["batch"] == 3 and built.identity["start"] == []
    again = build_stage("0.1", tmp_path, "nano", 5, options)
    assert again.tokenizer.to_str() == built.tokenizer.to_str()  # made once a run
    assert again.identity == built.identity
    assert all(map(torch.equal, again.objective.parameters(), built.objective.parameters()))


def test_a_stage_keeps_the_words_of_the_ctc_head_that_it_reads():
    parent = Checkpoint.open(Path("checkpoints/nano"))
    assert ctc_words([parent]) == parent.config.speech.ctc_words
    assert ctc_words([]) == all_words()


def test_a_part_that_starts_anew_is_not_its_parents(tmp_path, tiny_config, tiny_tokenizer):
    trained = Parley(tiny_config, ("language", "vision_encoder", "vision_adapter"))
    save_stage(
        tmp_path / "1.1", stage="1.1", config=tiny_config, tokenizer=tiny_tokenizer,
        parts={part: getattr(trained, part).state_dict() for part in ("language", "vision_encoder", "vision_adapter")},
    )  # fmt: skip
    parents, stage = [Checkpoint.open(tmp_path / "1.1")], find_stage("1.2")
    anew = build_model(stage, tiny_config, parents, 0, stage.nano.anew)
    further = build_model(stage, tiny_config, parents, 0)
    for model, kept in ((anew, {"vision_encoder", "vision_adapter"}), (further, set(stage.trains))):
        for part in stage.trains:
            pairs = zip(getattr(model, part).parameters(), getattr(trained, part).parameters(), strict=True)
            assert all(torch.equal(one, other) for one, other in pairs) == (part in kept)


def test_only_what_a_stage_trains_starts_anew():
    for stage in STAGES:
        assert set(stage.nano.anew) <= set(stage.trains)
        assert stage.full is None or not stage.full.anew  # would throw away what the user brings
