"""The Python program of docs/api.md runs as it stands, but for the gateway's address."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import soundfile

ROOT = Path(__file__).parents[5]


async def test_the_program_of_the_page_runs(gateway, tmp_path):
    section = (ROOT / "docs" / "api.md").read_text().split("\n## HTTP\n")[1]
    program = re.search(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[1]
    assert "127.0.0.1:8080" in program
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    command = [sys.executable, "-c", program.replace("127.0.0.1:8080", f"127.0.0.1:{gateway.http_port}")]
    done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    for name in ("answer.wav", "speech.mp3"):
        assert soundfile.info(tmp_path / name).samplerate == 24_000
