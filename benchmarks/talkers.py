"""Talkers (talker.py) in a process of their own, and what they report."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

GRACE_SECONDS = 30.0  # that a talker may take longer than it was told to


class Talkers:
    """Some that talk now. Their reports go to a file: a pipe that nobody reads would hold them up."""

    def __init__(self, numbers: Sequence[int], seconds: float, report: Path, **options: object):
        """`report`: file that is written. `options`: of `benchmarks.talker`."""
        self._seconds, self._report = seconds, report
        command = [sys.executable, "-m", "benchmarks.talker", "--seconds", str(seconds)]
        command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
        command += ["--talkers", *map(str, numbers)]
        with report.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output)

    def events(self) -> list[dict]:
        """What they have reported, once they are done. Raises `TimeoutExpired` where they are not, long after."""
        self._process.wait(self._seconds + GRACE_SECONDS)
        return [json.loads(line) for line in self._report.read_text().splitlines()]
