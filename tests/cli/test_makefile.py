"""`make` in a folder where nothing was installed yet."""

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"


@pytest.fixture
def make(tmp_path):
    """Runs make on a copy of the Makefile alone: whatever wants to install fails, for there is nothing to install."""
    shutil.copy(MAKEFILE, tmp_path)

    def run(*goals: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["make", "--no-print-directory", *goals, "PYTHON=false"], cwd=tmp_path, capture_output=True, text=True
        )

    return run


@pytest.mark.parametrize(("goal", "fails"), [("down", False), ("status", True)])
def test_nothing_is_installed_to_say_that_nothing_runs(make, goal, fails):
    done = make(goal)
    assert done.stdout == "nothing runs here\n" and (done.returncode != 0) == fails, done.stderr


def test_what_runs_is_stopped_before_it_is_removed(make, tmp_path):
    parley = tmp_path / ".venv/bin/parley"
    parley.parent.mkdir(parents=True)
    parley.write_text('#!/bin/sh\ntest -d .parley && echo "$@ before it is gone"\n')
    parley.chmod(0o755)
    (tmp_path / ".parley").mkdir()
    done = make("clean")
    assert done.stdout.startswith("down before it is gone\n"), done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


def test_the_tools_install_first(make):
    assert make("up").returncode != 0 and make("test").returncode != 0
