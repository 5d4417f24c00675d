"""Which rooms of the library start without torch, and that networks read no files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def loaded_by(folder: str, suspects: set[str]) -> set[str]:
    """Which of `suspects` are in `sys.modules` after every module of a folder was imported."""
    files = sorted((ROOT / folder).rglob("*.py"))
    modules = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]
    code = f"import sys, {', '.join(modules)}; print(*({suspects} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("folder", ["parley/media", "parley/text"])
def test_files_and_text_are_read_without_torch(folder: str) -> None:
    assert loaded_by(folder, {"torch", "transformers"}) == set()


def test_networks_read_no_files() -> None:
    assert loaded_by("parley/models", {"PIL", "av", "soundfile", "parley.media", "parley.checkpoints"}) == set()
