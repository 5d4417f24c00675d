"""The folder of a run: where the checkpoints and the work files of its stages are.

RUN/STAGE/          the checkpoint of the stage (docs/checkpoints.md)
RUN/work/STAGE/     metrics and curves, and until the stage is done its saved states and what these belong to
RUN/tensorboard/    curves for TensorBoard
RUN/report.md       what was trained, where, for how long, with which results
"""

from __future__ import annotations

from pathlib import Path

from parley.checkpoints.manifest import MANIFEST
from training.recipe import STAGES

IDENTITY_FILE = "identity.json"  # what the saved states of a stage belong to
METADATA = ".metadata"  # of a saved state, written last


def work_folder(run: Path, name: str) -> Path:
    """The folder of the work files of stage `name`."""
    return run / "work" / name


def saved_states(folder: Path) -> list[Path]:
    """The whole saved states in a work folder, the newest first."""
    return [path.parent for path in sorted(folder.glob(f"step-*/{METADATA}"), reverse=True)]


def is_done(run: Path, name: str) -> bool:
    """Whether stage `name` has written its checkpoint."""
    return (run / name / MANIFEST).exists()


def is_begun(run: Path, name: str) -> bool:
    """Whether stage `name` is done or has a saved state."""
    return is_done(run, name) or bool(saved_states(work_folder(run, name)))


def last_stage(run: Path) -> Path:
    """The checkpoint of the last stage that is done. Raises `ValueError` if none is."""
    done = [run / stage.name for stage in STAGES if is_done(run, stage.name)]
    if not done:
        raise ValueError(f"{run} has no finished stage")
    return done[-1]


def check_startable(run: Path, name: str, resume: bool) -> None:
    """Raises `ValueError` if stage `name` is done, because later stages name its files by their hashes, or if it was
    begun before and `resume` is not asked for."""
    if is_done(run, name):
        raise ValueError(f"stage {name} is done in {run}; train it again with another --run")
    if not resume and saved_states(work_folder(run, name)):
        raise ValueError(f"stage {name} was begun in {run}; --resume continues it, another --run starts again")
