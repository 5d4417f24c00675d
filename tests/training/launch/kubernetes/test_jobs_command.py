"""`parley jobs` over the real client and an API server in this process."""

import json

import pytest
from typer.testing import CliRunner

from cli import jobs
from cli.errors import CommandError
from training.launch.kubernetes import cluster as cluster_module
from training.launch.kubernetes.objects import RUN_LABEL, STAGE_LABEL, labels, stage_objects


@pytest.fixture
def parley_jobs(cluster, monkeypatch):
    """Calls the command; raises what it raises."""
    monkeypatch.setattr(cluster_module, "connect", lambda context="", namespace="": cluster)
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.05)

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(jobs.app, list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    return call


@pytest.fixture
def running(server, cluster, settings):
    """Stage 0.1 is complete; of stage 0.2 runs a pod that has reported."""
    made = settings()
    for stage in made.stages:
        for manifest in stage_objects(made, stage):
            cluster.create(manifest)
    server.set_job("run-0-1", "Complete")
    server.set_job("run-0-2", active=1)
    pod = {
        "metadata": {
            "name": "run-0-2-0-abcde",
            "labels": {**labels(made, "stage", "0.2"), "batch.kubernetes.io/job-completion-index": "0"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"containers": [{"name": "train"}]},
    }
    assert pod["metadata"]["labels"].keys() >= {RUN_LABEL, STAGE_LABEL}
    server.put("pods", pod)
    line = json.dumps({"progress": "0.2", "step": 40, "steps": 100, "loss": 2.5, "seconds_left": 600})
    server.logs["run-0-2-0-abcde"] = f"starting\n0.2:  40%|██▍{line}\nlast line\n"


def test_runs_are_listed_with_the_state_of_their_stages(parley_jobs, running):
    assert parley_jobs("list").split() == ["run", "0.1", "complete,", "0.2", "running"]


def test_without_runs_it_says_so(parley_jobs):
    assert parley_jobs("list").strip() == "no runs in namespace default"


def test_a_watch_shows_progress_and_ends_with_the_run(parley_jobs, running, server, monkeypatch):
    def complete_at_the_second_look(seconds):
        server.set_job("run-0-2", "Complete")

    monkeypatch.setattr(jobs.time, "sleep", complete_at_the_second_look)
    lines = [line.split(maxsplit=1)[1].split() for line in parley_jobs("watch", "run").splitlines()]
    assert lines == [
        ["0.1", "complete"],
        ["0.2", "running", "step", "40", "of", "100,", "loss", "2.500,", "10", "min", "left"],
        ["0.2", "complete"],
    ]


def test_a_watch_of_a_run_that_fails_ends_with_the_reason(parley_jobs, running, server):
    server.set_job("run-0-2", "Failed", "exited with 2")
    with pytest.raises(CommandError, match="run-0-2: PodFailurePolicy: exited with 2"):
        parley_jobs("watch", "run")


def test_logs_are_those_of_the_stage_that_runs(parley_jobs, running):
    assert parley_jobs("logs", "run").splitlines()[-1] == "last line"
    assert parley_jobs("logs", "run", "--stage", "0.2", "--follow").splitlines()[0] == "starting"
    with pytest.raises(CommandError, match=r"stage 0.2 of run has no pod 3"):
        parley_jobs("logs", "run", "--index", "3")


def test_a_cancelled_run_is_gone(parley_jobs, running):
    assert "run run ends; 4 objects removed" in parley_jobs("cancel", "run")
    with pytest.raises(CommandError, match="there is no run run"):
        parley_jobs("cancel", "run")
    with pytest.raises(CommandError, match="there is no run run"):
        parley_jobs("watch", "run")


def test_what_is_forbidden_is_one_line(parley_jobs, server):
    server.forbidden = {("list", "jobs")}
    with pytest.raises(CommandError, match='User "ann" cannot list'):
        parley_jobs("list")
