"""A run on this machine: its stages start when they are due, and a failure or a signal stops all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.launch import local as runs
from training.recipe import STAGES, find_stage
from training.run_folder import is_done
from training.trainer import StageInterruptionError

# Stands in for a stage's process: leaves an empty manifest where the stage would leave its checkpoint, and ends later.
DONE = (
    "import pathlib, sys, time; p = pathlib.Path(sys.argv[1]); p.mkdir(); (p / 'manifest.json').write_text('{}'); "
    "time.sleep(0.3)"
)


class Starts:
    """Takes the place of `start_stage`: short processes, and a record of what was done when each began."""

    def __init__(self, failing: str = "") -> None:
        self.failing, self.begun, self.alive = failing, [], []
        self.processes: dict[str, int] = {}  # that share a stage
        self.most = 0

    def __call__(self, name: str, run: Path, *_, processes: int = 1, **__) -> subprocess.Popen:
        for parent in find_stage(name).after:
            assert is_done(run, parent), f"{name} began before {parent} was done"
        self.begun.append(name)
        self.processes[name] = processes
        code = "raise SystemExit(3)" if name == self.failing else DONE
        process = subprocess.Popen([sys.executable, "-c", code, str(run / name)])
        self.alive = [p for p in self.alive if p.poll() is None] + [process]
        self.most = max(self.most, len(self.alive))
        return process


def test_all_stages_run_in_the_order_of_what_they_need(tmp_path, monkeypatch):
    starts = Starts()
    monkeypatch.setattr(runs, "start_stage", starts)
    runs.train("nano", tmp_path / "run", jobs=2)
    assert sorted(starts.begun) == sorted(one.name for one in STAGES)
    assert starts.most <= 2
    # Nothing could run beside the last ones.
    assert (starts.processes["2.2"], starts.processes["3.2"]) == (2, 2)
    assert starts.processes["3.1"] == 1


def test_a_stage_left_alone_is_restarted_with_more_processes(tmp_path, monkeypatch):
    """1.3 begins beside 2.1a; when that and the codec are done, nothing else could run until 1.3 is."""
    long = "import time; time.sleep(600)"
    ended, begun = {}, []

    def start(name, run, *_, processes=1, **__):
        begun.append((name, processes))
        code = long if name == "1.3" and processes == 1 else DONE
        ended[name] = subprocess.Popen([sys.executable, "-c", code, str(run / name)])
        return ended[name]

    monkeypatch.setattr(runs, "start_stage", start)
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
    monkeypatch.setattr(runs, "start_stage", starts)
    for name in ("0.1", "0.2"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").write_text("{}")
    runs.train("nano", tmp_path, resume=True)
    assert not {"0.1", "0.2"} & set(starts.begun)


def test_a_stage_that_fails_stops_the_run_and_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "start_stage", Starts(failing="1.1"))
    with pytest.raises(StageInterruptionError, match=r"stage 1\.1 \(exit code 3\); .* --resume` continues it"):
        runs.train("nano", tmp_path / "run")
    assert not is_done(tmp_path / "run", "1.2")


def test_a_run_that_was_begun_needs_resume(tmp_path):
    (tmp_path / "0.1").mkdir()
    with pytest.raises(ValueError, match="holds a run already; --resume continues it"):
        runs.train("nano", tmp_path)


def test_a_preset_that_cannot_be_trained_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"vita-7b cannot be trained yet: the recipe gives no steps for stage 1\.1, "):
        runs.train("vita-7b", tmp_path / "run")
    with pytest.raises(ValueError, match="no preset 'huge'; there are: nano, vita-small, vita-7b"):
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

    monkeypatch.setattr(runs, "start_stage", start)
    with pytest.raises(StageInterruptionError, match="--resume` continues it"):
        runs.train("nano", tmp_path / "run", jobs=3)
    try:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert begun[0].returncode == -signal.SIGTERM
    finally:
        for process in begun:
            process.kill()


def test_stopping_a_run_stops_its_stages(tmp_path):
    """SIGTERM to a stage's process: it saves and says so; nothing is left running."""
    process = runs.start_stage("0.2", tmp_path, "nano", 0, None, 0, threads=1)
    metrics = tmp_path / "work" / "0.2" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()) and process.poll() is None:
        time.sleep(0.1)
    process.terminate()
    assert process.wait() == 75
    assert (tmp_path / "work" / "0.2" / "resume.safetensors").exists()
    assert not is_done(tmp_path, "0.2")
