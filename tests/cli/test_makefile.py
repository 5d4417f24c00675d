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

    def run(*goals: str, **options) -> subprocess.CompletedProcess:
        command = [shutil.which("make"), "--no-print-directory", *goals]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, **options)

    return run


@pytest.mark.parametrize(("goal", "fails"), [("down", False), ("status", True)])
def test_nothing_is_installed_to_say_that_nothing_runs(make, goal, fails):
    done = make(goal, "PYTHON=false")
    assert done.stdout == "nothing runs here\n" and (done.returncode != 0) == fails, done.stderr


def test_what_runs_is_stopped_before_it_is_removed(make, tmp_path):
    parley = tmp_path / ".venv/bin/parley"
    parley.parent.mkdir(parents=True)
    parley.write_text('#!/bin/sh\ntest -d .parley && echo "$@ before it is gone"\n')
    parley.chmod(0o755)
    (tmp_path / ".parley").mkdir()
    done = make("clean", "PYTHON=false")
    assert done.stdout.startswith("down before it is gone\n"), done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


def test_the_tools_install_first(make):
    for goal in ("demo", "up", "test", "lint", "protos", "lock", "lock-check"):
        done = make(goal, "PYTHON=false")
        assert done.returncode != 0 and "false -m venv" in done.stdout, goal


@pytest.mark.parametrize(
    ("works", "chosen"),
    [(["python3.13", "python3.11"], "python3.11"), (["python3.13", "python3"], "python3.13"), (["python3"], "python3")],
)
def test_the_first_python_that_runs_and_is_new_enough_is_taken(make, tmp_path, works, chosen):
    for name in ("python3.11", "python3.12", "python3.13", "python3"):
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\nexit {int(name not in works)}\n")
        script.chmod(0o755)
    done = make("--dry-run", ".venv/.created", env={"PATH": str(tmp_path / "bin")})
    assert f"{chosen} -m venv .venv" in done.stdout.splitlines()


def test_no_python_is_said_in_one_line(make):
    done = make("up", env={"PATH": "/nowhere"})
    assert done.returncode != 0 and "Parley needs Python 3.11 or newer" in done.stderr


def test_another_choice_of_torch_installs_again_and_none_keeps_what_there_is(make, tmp_path):
    installed = [".venv/.created", ".venv/.torch", ".venv/.installed-serve"]
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").write_text('#!/bin/sh\necho "$@" >> calls\n')
    (tmp_path / ".venv/bin/parley").write_text("#!/bin/sh\n")
    for name in ("python", "parley"):
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    for name in ("pyproject.toml", "requirements.lock", "install.py", *installed):
        (tmp_path / name).touch()
    make("demo", "PYTHON=false")
    assert not (tmp_path / "calls").exists()
    for _ in range(2):
        assert make("demo", "PYTHON=false", "GPU=1").returncode == 0
    make("demo", "PYTHON=false")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 1 and "--gpu 1" in calls[0]
