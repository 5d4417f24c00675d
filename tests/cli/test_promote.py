"""`parley promote`: what it refuses before anything is started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.local import processes, state

ROOT = Path(__file__).parents[2]


@pytest.fixture
def promote(tmp_path):
    """Runs the command in a folder; returns its exit status and its only line."""

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": "", "PARLEY_SERVE_URL": ""}
        command = [sys.executable, "-m", "cli.main", "promote", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.stdout == ""
        return done.returncode, done.stderr.removesuffix("\n")

    return run


@pytest.fixture
def running(tmp_path):
    """The state of a stack that this process seems to run, in the folder of the command."""
    pid = os.getpid()
    stack = state.StackState(
        "id", pid, processes.started_at(pid), str(tmp_path), ready=True, redis_url="redis://127.0.0.1:9"
    )
    directory = tmp_path / state.DIRECTORY
    directory.mkdir()
    state.write(directory, stack)


@pytest.mark.parametrize("arguments", [(), ("runs/nano/3.2", "--back")])
def test_a_checkpoint_or_back(promote, arguments):
    assert promote(*arguments) == (2, "parley: name a checkpoint, or go --back to the one before")


def test_where_nothing_runs(promote):
    code, said = promote("runs/nano/3.2")
    assert code == 1 and said.startswith("parley: nothing runs here; start it with `parley up`")


def test_a_cluster_needs_its_services_and_its_sessions(promote):
    code, said = promote("/checkpoints/nano", "--serve-url", "http://127.0.0.1:9")
    assert (code, said) == (2, "parley: a cluster's promotion needs --services and --redis-url too")


def test_a_cluster_out_of_reach_is_one_line(promote):
    addresses = ("--services", "127.0.0.1:9", "--redis-url", "redis://127.0.0.1:9")
    code, said = promote("/checkpoints/nano", "--serve-url", "http://127.0.0.1:9", *addresses)
    assert code == 1 and said.startswith("parley: the sessions' Redis cannot be reached") and "\n" not in said


def test_a_folder_that_is_no_checkpoint_is_refused_before_anything_is_started(promote, running, tmp_path):
    code, said = promote(tmp_path)
    assert code == 2 and "no checkpoint" in said and "\n" not in said
    (tmp_path / "manifest.json").write_text("{}")
    code, said = promote(tmp_path)
    assert code == 2 and "manifest" in said and "\n" not in said
