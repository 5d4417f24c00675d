"""A stage by LoRA: what it trains, saves and writes, and that it continues as if never stopped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from parley.checkpoints import Checkpoint, load_model, save_stage
from training.identity import write_identity
from training.launch.local import train_stage
from training.launch.stage_job import StageJob
from training.launch.stage_process import build
from training.lora import ADAPTED
from training.lora_options import LoraOptions
from training.options import Options
from training.resources.memory import disk
from training.resources.sizes import measure
from training.run_folder import saved_states, work_folder
from training.stages.build import BuiltStage
from training.stages.run import save_checkpoint
from training.trainer import Trainer

LORA = LoraOptions(rank=2, alpha=4, lr=1e-2)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(tmp_path / "0.png")
    turns = [{"from": "human", "value": "<image>\nwhat is it?"}, {"from": "gpt", "value": "a red square."}]
    file = tmp_path / "records.json"
    file.write_text(json.dumps([{"id": str(i), "image": "0.png", "conversations": turns} for i in range(4)]))
    return file


def job(start: Path, run: Path, records: Path, **options) -> StageJob:
    chosen = Options(**({"steps": 3, "batch": 2, "lora": LORA} | options))
    return StageJob(stage="1.3", run=run, start=start, records=records, options=chosen)


def trainer(start: Path, run: Path, records: Path, **options) -> Trainer:
    return trainer_of(build(job(start, run, records, **options)), run)


def trainer_of(built: BuiltStage, run: Path) -> Trainer:
    return Trainer(
        built.stage, built.schedule, built.objective, work_folder(run, "1.3"), device=torch.device("cpu"),
        identity=built.identity, options=built.options,
    )  # fmt: skip


def test_the_checkpoint_is_a_plain_model(tiny_checkpoint: Path, records: Path, tmp_path: Path) -> None:
    train_stage(job(tiny_checkpoint, tmp_path / "run", records), resume=False)
    start, end = Checkpoint.open(tiny_checkpoint), Checkpoint.open(tmp_path / "run" / "1.3")
    assert {part for part, ref in end.manifest.parts.items() if ref.stage == "1.3"} == {"vision_adapter", "language"}
    before, after = start.state_dict("language"), end.state_dict("language")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.split(".")[-2] in ADAPTED and name.endswith("weight")}
    reply = load_model(end.path).reply([{"role": "user", "content": "hello"}], max_tokens=3, always=True)
    assert len(reply.token_ids) == 3


def test_what_is_written_computes_what_was_trained(tiny_checkpoint: Path, records: Path, tmp_path: Path) -> None:
    built = build(job(tiny_checkpoint, tmp_path / "run", records))
    made = trainer_of(built, tmp_path / "run")
    made.run()
    save_checkpoint(built, tmp_path / "run", {})
    language = built.objective.model.language.eval()
    language.set_attn_implementation("eager")
    plain = load_model(tmp_path / "run" / "1.3", ["language"]).language
    ids = torch.randint(0, 320, (2, 30))
    torch.testing.assert_close(plain(ids).logits, language(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lora", [LORA, None])
def test_a_saved_state_has_what_is_trained_and_the_size_that_was_planned(
    tiny_checkpoint: Path, records: Path, tmp_path: Path, lora: LoraOptions | None
) -> None:
    made = trainer(tiny_checkpoint, tmp_path / "run", records, lora=lora)
    made.train_step(made.objective.passes(made.objective.numbers(0), 0))
    made.save()
    [state] = saved_states(made.folder)
    names = made.states.shapes(state)
    weights = {name for name in names if name.startswith("language.") and not name.endswith("inv_freq")}
    assert all(("lora_" in name) == (lora is not None) for name in weights) and weights
    planned = disk(made.stage, measure(made.objective.model.config), lora)
    assert sum(4 * shape.numel() for shape in names.values()) == pytest.approx(planned.saved_state, rel=0.05)


def test_it_continues_as_if_never_stopped(tiny_checkpoint: Path, records: Path, tmp_path: Path) -> None:
    whole = trainer(tiny_checkpoint, tmp_path / "whole", records)
    whole.run()
    first = trainer(tiny_checkpoint, tmp_path / "run", records)
    first.folder.mkdir(parents=True)
    write_identity(first.folder, first.identity)
    for step in range(2):
        first.train_step(first.objective.passes(first.objective.numbers(step), step))
        first.step += 1
    first.save()
    second = trainer(tiny_checkpoint, tmp_path / "run", records)
    assert second.resume() and second.step == 2
    second.run()
    for (name, mine), other in zip(whole.objective.named_parameters(), second.objective.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7, msg=name)
    with pytest.raises(ValueError, match="another --lora"):
        trainer(tiny_checkpoint, tmp_path / "run", records, lora=LORA.model_copy(update={"rank": 3})).resume()


def test_a_frozen_encoder_must_be_there(tiny_checkpoint: Path, records: Path, tmp_path: Path) -> None:
    model = load_model(tiny_checkpoint)
    parts = {name: part.state_dict() for name, part in model.named_children() if name != "vision_encoder"}
    save_stage(tmp_path / "start", stage="random", config=model.config, parts=parts, tokenizer=model.tokenizer)
    with pytest.raises(ValueError, match=r"stage 1\.3 reads vision_encoder, which .* does not have"):
        build(job(tmp_path / "start", tmp_path / "run", records))
