"""The evaluation of a checkpoint: all measures that its parts allow, on data that no stage learned from.

A measure whose parts the checkpoint lacks is left out. Nothing is estimated.
"""

from __future__ import annotations

from pathlib import Path

import torch

from parley.checkpoints import Checkpoint, load_model
from parley.checkpoints.manifest import MANIFEST
from training.evaluation.suites import world
from training.evaluation.table import Measure
from training.evaluation.vision import WORLD_LOST, WORLD_SCORE
from training.run_folder import last_stage

DEFAULT_CHECKPOINT = Path("checkpoints/nano")
BEFORE_SPEECH = "picture_questions_after_1.3"  # in the metrics of an exported manifest, which has no 1.3 beside it


def find_checkpoint(run: Path | None) -> Path:
    """A checkpoint's folder from what was named: a checkpoint, a run (its last stage), nothing (the shipped one).

    Raises `ValueError` if there is none.
    """
    path = DEFAULT_CHECKPOINT if run is None else run
    if (path / MANIFEST).exists():
        return path
    if run is None:
        raise ValueError(f"no checkpoint is shipped in {path}; name a checkpoint or a run")
    return last_stage(path)


@torch.no_grad()
def evaluate(folder: Path, count: int = 100) -> list[dict]:
    """All measures, as `{"name", "value", "bar", "n", "ok", "chance"}`.

    Args:
        count: held-out samples of each kind of question; the numbers of other samples are multiples of it.
    """
    checkpoint = Checkpoint.open(folder)
    parts = set(checkpoint.parts)
    measures = world.measures(load_model(checkpoint), parts, count)
    if {"speech_adapter", "vision_adapter"} <= parts:
        measures += loss_since_speech(measures, checkpoint, count)
    return [measure.record() for measure in measures]


def loss_since_speech(measures: list[Measure], checkpoint: Checkpoint, count: int) -> list[Measure]:
    """How much worse the model answers written questions about pictures than after stage 1.3, if that is known."""
    before = score_before_speech(checkpoint, count)
    if before is None:
        return []
    after = next(measure for measure in measures if measure.name == WORLD_SCORE)
    return [Measure(WORLD_LOST, before - after.value, after.n, 1.0, at_most=True)]


def score_before_speech(checkpoint: Checkpoint, count: int) -> float | None:
    """The mean over kinds after stage 1.3: measured if its checkpoint is beside this one, else as recorded."""
    before = checkpoint.path.resolve().parent / "1.3"
    if (before / MANIFEST).exists():
        return picture_score(before, count)
    return checkpoint.manifest.metrics.get(BEFORE_SPEECH)


def picture_score(folder: Path, count: int) -> float:
    """The mean over kinds of written questions about pictures, in percent."""
    parts = ("vision_encoder", "vision_adapter", "language")
    return world.picture_score(load_model(folder, parts), count)
