"""What a suite is, and what a run of one is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from parley.checkpoints import Checkpoint
from training.evaluation.suites.reading import LeftOut
from training.evaluation.table import Measure


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
    """Measures of a checkpoint on a user's data. `measure` raises `ValueError` if it cannot be measured."""

    summary: str  # what is measured
    data: str  # what `--data` names
    measure: Callable[[SuiteRun], list[Measure]]
    published: str = ""  # VITA-1.5's figure in the paper
