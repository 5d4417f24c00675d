"""A run: stages start when what they build on is there, at most so many at once, and a failure stops with a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from parley.checkpoints import Checkpoint, load_model, save_stage
from parley.models.parley import Parley
from training.launch import local as runs
from training.recipe import STAGES, Stage, recipe, schedule, stage
from training.trainer import StageInterruptionError

# Stands in for a stage's process: leaves an empty manifest where the stage would leave its checkpoint, and ends later.
DONE = (
    "import pathlib, sys, time; p = pathlib.Path(sys.argv[1]); p.mkdir(); (p / 'manifest.json').write_text('{}'); "
    "time.sleep(0.3)"
)


class Starts:
    """Takes the place of `run._start`: quick processes, and a record of what was there when each began."""

    def __init__(self, failing: str = "") -> None:
        self.failing, self.begun, self.alive = failing, [], []
        self.processes: dict[str, int] = {}  # that share a stage
        self.most = 0

    def __call__(self, name: str, run: Path, *_, processes: int = 1, **__) -> subprocess.Popen:
        for parent in stage(name).after:
            assert runs.is_done(run, parent), f"{name} began before {parent} was done"
        self.begun.append(name)
        self.processes[name] = processes
        code = "raise SystemExit(3)" if name == self.failing else DONE
        process = subprocess.Popen([sys.executable, "-c", code, str(run / name)])
        self.alive = [p for p in self.alive if p.poll() is None] + [process]
        self.most = max(self.most, len(self.alive))
        return process


def test_all_stages_run_in_the_order_of_what_they_need(tmp_path, monkeypatch):
    starts = Starts()
    monkeypatch.setattr(runs, "_start", starts)
    runs.train("nano", tmp_path / "run", jobs=2)
    assert sorted(starts.begun) == sorted(row.name for row in STAGES)
    assert starts.most <= 2
    # Nothing could run beside the last ones, and the stage before has let go of the machine.
    assert (starts.processes["2.2"], starts.processes["3.2"]) == (2, 2)
    assert starts.processes["3.1"] == 1


def test_a_stage_left_alone_goes_on_with_the_whole_machine(tmp_path, monkeypatch):
    """1.3 begins beside 2.1a; when that and the codec are done, nothing else could run until 1.3 is."""
    long = "import time; time.sleep(600)"
    ended, begun = {}, []

    def start(name, run, *_, processes=1, **__):
        begun.append((name, processes))
        code = long if name == "1.3" and processes == 1 else DONE
        ended[name] = subprocess.Popen([sys.executable, "-c", code, str(run / name)])
        return ended[name]

    monkeypatch.setattr(runs, "_start", start)
    for name in ("0.1", "0.2", "1.1", "1.2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    runs.train("nano", tmp_path, resume=True, jobs=2)
    assert begun[:2] == [("1.3", 1), ("2.1a", 1)]
    assert begun.index(("1.3", 2)) > begun.index(("3.1", 1))
    assert [name for name, _ in begun].count("1.3") == 2
    assert ended["1.3"].returncode == 0


def test_done_stages_are_not_done_again(tmp_path, monkeypatch):
    starts = Starts()
    monkeypatch.setattr(runs, "_start", starts)
    for name in ("0.1", "0.2"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").write_text("{}")
    runs.train("nano", tmp_path, resume=True)
    assert not {"0.1", "0.2"} & set(starts.begun)


def test_a_stage_that_fails_stops_the_run_and_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "_start", Starts(failing="1.1"))
    with pytest.raises(StageInterruptionError, match=r"stage 1\.1 \(exit code 3\); .* --resume` goes on"):
        runs.train("nano", tmp_path / "run")
    assert not runs.is_done(tmp_path / "run", "1.2")


def test_a_run_that_was_begun_needs_resume(tmp_path):
    (tmp_path / "0.1").mkdir()
    with pytest.raises(ValueError, match="holds a run already; --resume continues it"):
        runs.train("nano", tmp_path)


def test_a_stage_without_its_parents_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"stage 1\.1 builds on 0\.1, 0\.2"):
        runs.run_stage("1.1", tmp_path, "nano", steps=1)


def test_parts_come_from_the_stage_that_trained_them_last(tmp_path, tiny_config, tiny_tokenizer):
    first = Parley(tiny_config, ("language",))
    save_stage(
        tmp_path / "0.1", stage="0.1", config=tiny_config, tokenizer=tiny_tokenizer,
        parts={"language": first.language.state_dict()},
    )  # fmt: skip
    eyes = Parley(tiny_config, ("vision_encoder",))
    save_stage(
        tmp_path / "0.2", stage="0.2", config=tiny_config, parts={"vision_encoder": eyes.vision_encoder.state_dict()}
    )
    model = runs.build_model(stage("1.1"), tiny_config, tmp_path, 0)
    for part, source in (("language", first), ("vision_encoder", eyes)):
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


def test_a_part_that_is_only_read_must_have_been_trained(tmp_path, tiny_config):
    row = Stage(name="9", title="", trains=("vision_adapter",), reads=("language",), objective="next_token", nano=None)
    with pytest.raises(ValueError, match="stage 9 reads language, which none of its parents has"):
        runs.build_model(row, tiny_config, tmp_path, 0)


def test_a_fresh_adapter_is_as_large_as_the_embeddings(tmp_path, tiny_config):
    row = Stage(
        name="9", title="", trains=("vision_encoder", "vision_adapter", "language"), objective="next_token", nano=None
    )
    from parley.media.image import frames_to_pixels
    from training.data.world import World

    model, pictures = Parley(tiny_config, row.loads), [World(0).picture(i)[1] for i in range(4)]
    runs.calm(model, row, tmp_path, pictures)
    with torch.no_grad():
        pixels = torch.from_numpy(frames_to_pixels(pictures, tiny_config.vision))
        made = model.vision_adapter(model.vision_encoder(pixels))
    size = model.language.get_input_embeddings().weight.square().mean().sqrt()
    torch.testing.assert_close(made.square().mean().sqrt(), size, rtol=1e-3, atol=0)


def test_a_balanced_adapter_hears_what_is_whispered():
    """A direction a thousand times smaller than another is read as well; what tells cells apart is read best."""
    torch.manual_seed(0)
    told = torch.randn(400, 3, 4)
    place = torch.tensor([[-1.0, 1.0], [0.0, -2.0], [1.0, 1.0]]).expand(400, 3, 2)  # of three cells
    seen = torch.cat([told * torch.tensor([100, 100, 0.1, 0.1]), 0.1 * place], -1)
    first = torch.nn.Linear(6, 300)
    with torch.no_grad():
        runs.balance(first, seen)
        written = first(seen).flatten(0, 1)
    parts = torch.cat([told, place], -1).flatten(0, 1)
    loud, _, whispered, _, at, _ = (written.T @ (parts / parts.norm(dim=0))).norm(dim=0)
    torch.testing.assert_close(loud, whispered, rtol=0.2, atol=0)
    assert at > 2 * loud


def test_a_preset_that_cannot_be_trained_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"vita-7b cannot be trained yet: the recipe gives no steps for stage 1\.1, "):
        runs.train("vita-7b", tmp_path / "run")
    with pytest.raises(ValueError, match=r"no steps for stage 3\.1, "):
        runs.run_stage("3.1", tmp_path / "run", "vita-7b", steps=1)
    with pytest.raises(ValueError, match="no preset 'huge'; there are: nano, vita-7b"):
        runs.train("huge", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_told_to_stop_leaves_no_stage_behind(tmp_path, monkeypatch):
    """SIGTERM to the run itself: its stages end with it."""
    begun = []

    def start(*_, **__):
        begun.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return begun[-1]

    monkeypatch.setattr(runs, "_start", start)
    with pytest.raises(StageInterruptionError, match="--resume` goes on"):
        runs.train("nano", tmp_path / "run", jobs=3)
    try:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert begun[0].returncode == -signal.SIGTERM
    finally:
        for process in begun:
            process.kill()


def test_full_size_leaves_out_the_pretrainings():
    assert [row.name for row in recipe("vita-7b")] == ["1.1", "1.2", "1.3", "2.1a", "2.1b", "2.2", "3.1", "3.2"]
    with pytest.raises(ValueError, match=r"stage 0\.1 \(language pretraining\) belongs to nano only"):
        schedule(stage("0.1"), "vita-7b")


def test_an_unknown_stage_is_named_with_the_others():
    with pytest.raises(ValueError, match=r"no stage '7'; there are: 0\.1, 0\.2, 1\.1"):
        stage("7")


def test_stopping_a_run_stops_its_stages(tmp_path):
    """SIGTERM to a stage's process: it saves and says so; nothing is left running."""
    process = runs._start("0.2", tmp_path, "nano", 0, None, 0, 1)
    metrics = tmp_path / "work" / "0.2" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()) and process.poll() is None:
        time.sleep(0.1)
    process.terminate()
    assert process.wait() == 75
    assert (tmp_path / "work" / "0.2" / "resume.safetensors").exists()
    assert not runs.is_done(tmp_path, "0.2")


def test_a_stage_that_is_done_is_not_done_over(tmp_path):
    """Later stages name its files by their hashes: other weights in their place would break every one of them."""
    (tmp_path / "0.2").mkdir()
    (tmp_path / "0.2" / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match=r"stage 0\.2 is done in .*; another --run makes another"):
        runs.run_stage("0.2", tmp_path, "nano", resume=True)
