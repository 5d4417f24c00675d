"""What a suite is, and what a run of one is given."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from training.evaluation.table import Measure

if TYPE_CHECKING:
    from parley.checkpoints import Checkpoint


SHOWN = 20  # records left out that are named


@dataclass
class LeftOut:
    """Records that could not be measured: how many, and the first of them with the reason."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, where: str, why: Exception) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(f"{where}: {why}")


@dataclass
class SuiteRun:
    """A checkpoint and the data that it is measured on."""

    checkpoint: Checkpoint
    data: Path
    media: Path | None = None  # folder of the media files; None: that of `data`
    count: int | None = None  # records of each set, at even distances; None: all
    ask: str = ""  # what stands in writing after speech that the language model shall transcribe
    left_out: LeftOut = field(default_factory=LeftOut)


@dataclass(frozen=True)
class Suite:
    """Measures of a checkpoint on a user's data."""

    summary: str  # what is measured
    data: str  # what `--data` names
    module: str  # in `training.evaluation.suites`; imported when it is needed, so that `--help` is instant
    function: str = "measures"
    published: str = ""  # VITA-1.5's figure in the paper

    def measure(self, run: SuiteRun) -> list[Measure]:
        """Raises `ValueError` if the checkpoint or the data cannot be measured with this suite."""
        module = importlib.import_module(f"training.evaluation.suites.{self.module}")
        return getattr(module, self.function)(run)
