"""`parley --help` for newcomers."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import COMMANDS

ROOT = Path(__file__).parents[2]


def parley(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "cli.main", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_help_lists_every_command():
    done = parley("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    done = parley(name, "--help")
    assert done.returncode == 0 and "Usage: " in done.stdout and "Traceback" not in done.stderr, done.stderr


def test_a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "world").touch()
    done = parley("data", "world", "--out", str(tmp_path / "world/here"), "--count", "1")
    assert (done.returncode, done.stderr) == (2, f"parley: {tmp_path / 'world/here'}: Not a directory\n")


def test_a_place_for_the_rows_is_looked_for_before_measuring(tmp_path):
    done = parley("eval", "checkpoints/nano", "--json", str(tmp_path / "none/rows.json"))
    assert done.returncode == 2 and "there is no folder" in done.stderr and done.stdout == ""


def test_an_unknown_command_is_named():
    done = parley("frobnicate")
    assert done.returncode == 2 and "frobnicate" in done.stderr


def test_a_package_that_is_not_installed_is_named_with_its_extra():
    program = "import sys; sys.modules['orjson'] = None; from cli.main import main; main()"
    command = [sys.executable, "-c", program, "train", "--steps", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "parley: train needs orjson: install Parley's extra `train`, `python install.py train`\n"
