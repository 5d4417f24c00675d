"""The evaluation of a checkpoint: all rows that its parts allow, on data that no stage learned from.

Every row is the mean over the seeds of the held-out sets. A row whose parts the checkpoint lacks is left out; one whose
packages are not installed is left out and named. Nothing is estimated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from tqdm import tqdm

from parley.checkpoints import Checkpoint, load_model
from parley.checkpoints.manifest import MANIFEST
from parley.models.parley import Parley
from training.evaluation.evaluation import Evaluation
from training.evaluation.suites import world
from training.evaluation.suites.world import SEEDS, Row
from training.evaluation.table import Measure, over_seeds
from training.evaluation.vision import WORLD_LOST
from training.run_folder import last_stage

DEFAULT_CHECKPOINT = Path("checkpoints/nano")
BEFORE_SPEECH = "picture_questions_after_1.3"  # in the metrics of an exported manifest, which has no 1.3 beside it
PICTURES = world.ROWS[0]  # the mean over kinds of written questions about pictures
EMPTY = "answers without a word where the state says to answer: how many"
BAR = "{desc} {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left"


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
def evaluate(folder: Path, count: int = 100, pattern: str = "", file: Path | None = None, resume: bool = False) -> dict:
    """Measures the rows whose name has the regular expression `pattern` in it: {"rows", "left_out", …}.

    Args:
        count: held-out samples of each kind of question under one seed; the numbers of other samples follow from it.
        file: where the result is written, after each row.
        resume: keep the rows that the file has.

    Raises `ValueError` for a pattern that no row has, or a file of another evaluation.
    """
    checkpoint = Checkpoint.open(folder)
    rows = [row for row in matching(pattern) if row.needs <= set(checkpoint.parts)]
    evaluation = Evaluation(checkpoint.fingerprint, count, SEEDS, left_out=left_out(rows))
    if resume and file is not None and file.exists():
        evaluation.take(file)
    measure(rows, checkpoint, evaluation, file)
    evaluation.sort([row.name for row in world.ROWS])
    evaluation.derived = [derived.record() for derived in derived_rows(evaluation, checkpoint)]
    evaluation.write(file)
    return evaluation.content()


def matching(pattern: str) -> list[Row]:
    """The rows that have the pattern in their name, in any case of letters. Raises `ValueError` if there is none."""
    try:
        found = [row for row in world.ROWS if re.search(pattern, row.name, re.IGNORECASE)]
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    if not found:
        raise ValueError(f"no row has {pattern!r} in its name; there are: {'; '.join(row.name for row in world.ROWS)}")
    return found


def left_out(rows: list[Row]) -> list[str]:
    """A line for each thing that is not installed."""
    needed: dict[str, list[str]] = {}
    for row in rows:
        if lacks := row.lacks():
            needed.setdefault(lacks, []).append(row.name)
    return [f"not measured, {lacks}: {'; '.join(names)}" for lacks, names in needed.items()]


def measure(rows: list[Row], checkpoint: Checkpoint, evaluation: Evaluation, file: Path | None) -> None:
    """Measures the rows that the evaluation does not have, with a progress bar; writes the file after each."""
    due = [row for row in rows if row.name not in evaluation.measured and not row.lacks()]
    model = load_model(checkpoint)
    with tqdm(total=len(SEEDS) * sum(row.seconds for row in due), bar_format=BAR, dynamic_ncols=True) as progress:
        for row in due:
            progress.set_description_str(row.name)
            evaluation.add(row.name, over_all_seeds(row, model, evaluation.count, progress))
            evaluation.write(file)


def over_all_seeds(row: Row, model: Parley, count: int, progress: tqdm) -> list[Measure]:
    """A row and its details."""
    measured = []
    for seed in SEEDS:
        measured.append(row.measure(model, seed, count))
        progress.update(row.seconds)
    return row.finish(over_seeds(measured))


def derived_rows(evaluation: Evaluation, checkpoint: Checkpoint) -> Iterator[Measure]:
    """The rows that follow from others: what vision lost, and the empty answers to all that was asked."""
    if PICTURES.name in evaluation.measured and {"speech_adapter", "vision_adapter"} <= set(checkpoint.parts):
        after = dict(zip(SEEDS, evaluation.measured[PICTURES.name][0]["by_seed"], strict=True))
        yield from loss_since_speech(scores_before_speech(checkpoint, evaluation.count), after, evaluation)
    if asked := [record for record in evaluation.records if record["empty"] is not None]:
        empty, samples = (sum(record[name] for record in asked) for name in ("empty", "n"))
        yield Measure(EMPTY, empty, samples, 0.0, at_most=True, digits=0)


def loss_since_speech(
    before: Mapping[int, float], after: Mapping[int, float], evaluation: Evaluation
) -> Iterator[Measure]:
    """How much worse the model answers written questions about pictures than after stage 1.3, under the seeds of which
    that is known. Scores are by seed."""
    if lost := tuple(before[seed] - after[seed] for seed in SEEDS if seed in before):
        samples = evaluation.measured[PICTURES.name][0]["n"] * len(lost) // len(SEEDS)
        yield Measure(WORLD_LOST, sum(lost) / len(lost), samples, 1.0, at_most=True, by_seed=lost)


def scores_before_speech(checkpoint: Checkpoint, count: int) -> dict[int, float]:
    """`picture_scores` after stage 1.3: measured if its checkpoint is beside this one, else as recorded; empty if that
    is not known."""
    before = checkpoint.path.resolve().parent / "1.3"
    if (before / MANIFEST).exists():
        return picture_scores(before, count)
    recorded = checkpoint.manifest.metrics.get(BEFORE_SPEECH, {})
    if isinstance(recorded, int | float):  # of weights that were exported when there was one seed
        return {SEEDS[0]: recorded}
    return {int(seed): score for seed, score in recorded.items()}


@torch.no_grad()
def picture_scores(folder: Path, count: int) -> dict[int, float]:
    """Seed → the mean over kinds of written questions about pictures, in percent."""
    model = load_model(folder, tuple(PICTURES.needs))
    return {seed: PICTURES.measure(model, seed, count)[0].value for seed in SEEDS}
