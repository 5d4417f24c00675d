"""What a model sees before and after the audio stages: of a run, from what its stages measured, beside the paper.

The order of the recipe (vision first, then speech) is right if the vision score after 2.2 is that after 1.3. Both
stages measure the same held-out records at their end, and keep the figures in their manifests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parley.checkpoints import Checkpoint, CheckpointError
from parley.checkpoints.manifest import Manifest

BEFORE, AFTER = "1.3", "2.2"
USER_KINDS = ("captions", "questions")  # of the user's data
WORLD_KINDS = ("colour", "shape", "count", "where", "relation", "is_there", "written")  # of nano's world
WORLD_SCORE = "picture questions, text in: mean over kinds"  # of an evaluation, after 2.2
WORLD_LOST = f"vision score lost from stage {BEFORE} to {AFTER}"


@dataclass(frozen=True)
class VisionScore:
    """One figure of both stages, in percent; None where it was not measured."""

    name: str
    before: float | None
    after: float | None


# arXiv 2501.01957: the mean over its image benchmarks.
PUBLISHED = VisionScore("VITA-1.5 as published, mean of its image benchmarks", 71.3, 70.8)


def vision_scores(before: Manifest | None, after: Manifest | None, evaluation: Sequence[dict]) -> list[VisionScore]:
    """The scores of a run, of which one stage or both are done. `evaluation`: records of `Measure`."""
    first, second = (metrics_of(manifest) for manifest in (before, after))
    same = "" if None in (before, after) or fingerprint(before) == fingerprint(after) else "; their data differ"
    return [
        VisionScore(f"{name}{same}", first.get(name), second.get(name)) for name in dict.fromkeys((*first, *second))
    ] + evaluated(evaluation)


def metrics_of(manifest: Manifest | None) -> dict[str, float]:
    """What a stage measured of vision at its end, by name."""
    metrics = {} if manifest is None else manifest.metrics
    found = {}
    for kind in USER_KINDS:
        if f"{kind}_token_accuracy" in metrics:  # of nano's world there is none
            found[f"held-out {kind}, tokens right"] = metrics[f"{kind}_token_accuracy"]
            found[f"held-out {kind}, answers matched"] = metrics[kind]
    if all(kind in metrics for kind in WORLD_KINDS):
        found["picture questions, a small probe"] = sum(metrics[kind] for kind in WORLD_KINDS) / len(WORLD_KINDS)
    return found


def fingerprint(manifest: Manifest) -> str:
    """Of the mix that a stage learned from. What follows the "/" is how many of its records the stage takes."""
    return manifest.data.get("fingerprint", "").partition("/")[0]


def evaluated(records: Sequence[dict]) -> list[VisionScore]:
    """The score of nano's evaluation, if it knows both."""
    values: Mapping[str, float] = {record["name"]: record["value"] for record in records}
    if WORLD_SCORE not in values or WORLD_LOST not in values:
        return []
    after = values[WORLD_SCORE]
    return [VisionScore("picture questions, the evaluation", after + values[WORLD_LOST], after)]


def stage_before(folder: Path, manifest: Manifest, stage: str) -> Manifest | None:
    """The manifest of stage `stage` among the ancestors of the checkpoint in `folder`; None if it is not there."""
    while manifest.stage != stage:
        if manifest.parent is None:
            return None
        folder = folder / manifest.parent
        try:
            manifest = Checkpoint.open(folder).manifest
        except CheckpointError:  # moved or removed since
            return None
    return manifest
