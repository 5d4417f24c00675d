"""A run on this machine: its stages start when they are due, and a failure or a signal stops all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.ending import StageInterruptionError
from training.launch import local as runs
from training.launch.stage_job import StageJob
from training.launch.stage_process import INTERRUPTED
from training.options import Options
from training.recipe import STAGES, find_stage
from training.run_folder import is_done, saved_states, work_folder

# Stands in for a stage's process: leaves an empty manifest where the stage would leave its checkpoint, and ends later.
DONE = (
    "import pathlib, sys, time; p = pathlib.Path(sys.argv[1]); p.mkdir(); (p / 'manifest.json').write_text('{}'); "
    "time.sleep(0.3)"
)
NONE = Options()


def pretend(code: str, job: StageJob) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, str(job.run / job.stage)])


def finish(run: Path, *names: str) -> None:
    for name in names:
        (run / name).mkdir(parents=True)
        (run / name / "manifest.json").write_text("{}")


class Starts:
    """Takes the place of `start_stage`: short processes, and a record of what was done when each began."""

    def __init__(self, failing: str = "") -> None:
        self.failing, self.begun, self.alive = failing, [], []
        self.jobs: dict[str, StageJob] = {}
        self.most = 0

    def __call__(self, job: StageJob, threads: int) -> subprocess.Popen:
        for parent in find_stage(job.stage).after:
            assert is_done(job.run, parent), f"{job.stage} began before {parent} was done"
        self.begun.append(job.stage)
        self.jobs[job.stage] = job
        process = pretend("raise SystemExit(3)" if job.stage == self.failing else DONE, job)
        self.alive = [p for p in self.alive if p.poll() is None] + [process]
        self.most = max(self.most, len(self.alive))
        return process


def test_all_stages_run_in_the_order_of_what_they_need(tmp_path, monkeypatch):
    starts, options = Starts(), Options(save_every=7)
    monkeypatch.setattr(runs, "start_stage", starts)
    runs.train("nano", tmp_path / "run", seed=5, jobs=2, options=options)
    assert sorted(starts.begun) == sorted(one.name for one in STAGES)
    assert starts.most <= 2
    # Nothing could run beside the last ones.
    assert (starts.jobs["2.2"].processes, starts.jobs["3.2"].processes) == (2, 2)
    # The codec runs beside others.
    assert starts.jobs["3.1"].processes == 1
    assert all((job.seed, job.options, job.preset) == (5, options, "nano") for job in starts.jobs.values())
    assert {job.bar for job in starts.jobs.values()} <= {0, 1}


def test_a_stage_left_alone_is_restarted_with_more_processes(tmp_path, monkeypatch):
    """1.3 begins beside 2.1a; when that and the codec are done, nothing else could run until 1.3 is."""
    long = "import time; time.sleep(600)"
    ended, begun = {}, []

    def start(job, threads):
        begun.append((job.stage, job.processes))
        ended[job.stage] = pretend(long if (job.stage, job.processes) == ("1.3", 1) else DONE, job)
        return ended[job.stage]

    monkeypatch.setattr(runs, "start_stage", start)
    finish(tmp_path, "0.1", "0.2", "1.1", "1.2")
    runs.train("nano", tmp_path, resume=True, jobs=2, options=NONE)
    assert begun[:2] == [("1.3", 1), ("2.1a", 1)]
    assert begun.index(("1.3", 2)) > begun.index(("3.1", 1))
    assert [name for name, _ in begun].count("1.3") == 2
    assert ended["1.3"].returncode == 0


def test_done_stages_are_not_done_again(tmp_path, monkeypatch):
    starts = Starts()
    monkeypatch.setattr(runs, "start_stage", starts)
    finish(tmp_path, "0.1", "0.2")
    runs.train("nano", tmp_path, resume=True, options=NONE)
    assert not {"0.1", "0.2"} & set(starts.begun)


def test_a_stage_that_fails_stops_the_run_and_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "start_stage", Starts(failing="1.1"))
    with pytest.raises(StageInterruptionError, match=r"stage 1\.1 \(exit code 3\); .* --resume` continues it"):
        runs.train("nano", tmp_path / "run", options=NONE)
    assert not is_done(tmp_path / "run", "1.2")


def test_a_run_that_was_begun_needs_resume(tmp_path):
    (tmp_path / "0.1").mkdir()
    with pytest.raises(ValueError, match="holds a run already; --resume continues it"):
        runs.train("nano", tmp_path, options=NONE)


def test_a_preset_that_cannot_be_trained_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"vita-7b cannot be trained yet: the recipe gives no steps for stage 1\.1, "):
        runs.train("vita-7b", tmp_path / "run", options=NONE)
    with pytest.raises(ValueError, match="no preset 'huge'; there are: nano, vita-"):
        runs.train("huge", tmp_path / "run", options=NONE)
    assert not (tmp_path / "run").exists()


def test_a_whole_run_under_torchrun_is_refused(tmp_path, monkeypatch):
    """Each of its processes would start all stages again. That ended with 0, and unsynchronised copies."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="under torchrun, name one stage with --stage"):
        runs.train("nano", tmp_path / "run", options=NONE)
    assert not (tmp_path / "run").exists()


def test_a_run_told_to_stop_leaves_no_stage_behind(tmp_path, monkeypatch):
    """SIGTERM to the run itself: its stages end with it."""
    begun = []

    def start(job, threads):
        begun.append(pretend("import time; time.sleep(600)", job))
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return begun[-1]

    monkeypatch.setattr(runs, "start_stage", start)
    with pytest.raises(StageInterruptionError, match="--resume` continues it"):
        runs.train("nano", tmp_path / "run", jobs=3, options=NONE)
    try:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert begun[0].returncode == -signal.SIGTERM
    finally:
        for process in begun:
            process.kill()


@pytest.mark.timeout(180)
def test_stopping_a_run_stops_its_stages(tmp_path, capfd):
    """SIGTERM to a stage's process: it saves and says so in one line; nothing is left running."""
    job = StageJob(stage="0.2", run=tmp_path, options=Options(batch=4))
    process = runs.start_stage(job, threads=1)
    metrics, deadline = tmp_path / "work" / "0.2" / "metrics.jsonl", time.monotonic() + 150
    while not (metrics.exists() and metrics.read_text()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    assert process.wait() == INTERRUPTED == 75
    assert saved_states(work_folder(tmp_path, "0.2"))
    assert not is_done(tmp_path, "0.2")
    said = [line for line in capfd.readouterr().err.splitlines() if "it/s" not in line and "step" in line]
    assert said[-1].startswith("stage 0.2 stopped at step ") and said[-1].endswith("of 12000; --resume continues it")
    assert not any("Warning" in line for line in said)
