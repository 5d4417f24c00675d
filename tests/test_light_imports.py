"""The gateway and the commands that talk to one start without torch, which takes seconds and hundreds of megabytes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    "services.gateway.__main__",
    "cli.main",
    "cli.up",
    "cli.down",
    "cli.status",
    "cli.promote",
    "cli.ask",
    "cli.keys",
    "cli.data",
]


@pytest.mark.parametrize("module", MODULES)
def test_it_starts_without_torch(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
