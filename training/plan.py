"""Which stages of a run are due, and with how many processes: a pure function of what is done and what runs.

Notable points:
- A stage is due when the stages it builds on are finished; at most `jobs` stages run at the same time.
- A stage beside which no other could run is shared: `jobs` processes compute its batches together.
- A stage that began in one process, and beside which nothing can run any more, is restarted as a shared one.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from training.recipe import Stage, recipe, schedule_for


@dataclass(frozen=True)
class Progress:
    """Where a run is."""

    preset: str
    jobs: int  # stages that may run at the same time, one process each
    finished: Set[str]  # stages whose checkpoint is written and whose processes have ended
    running: Mapping[str, int]  # stage → processes that share it

    @property
    def waiting(self) -> tuple[Stage, ...]:
        """The stages that are neither finished nor running, in the order of the recipe."""
        begun = self.finished | self.running.keys()
        return tuple(stage for stage in recipe(self.preset) if stage.name not in begun)


@dataclass(frozen=True)
class Start:
    """A stage to start, and the number of processes that share its batches."""

    stage: Stage
    processes: int


def due(progress: Progress) -> list[Start]:
    """The stages to start now."""
    waiting = progress.waiting
    ready = [stage for stage in waiting if progress.finished >= set(stage.after)]
    if not progress.running and ready and should_share(ready[0], waiting, progress):
        return [Start(ready[0], progress.jobs)]
    return [Start(stage, 1) for stage in ready[: progress.jobs - len(progress.running)]]


def to_share(progress: Progress) -> Stage | None:
    """The running stage that should be stopped and started again with `jobs` processes."""
    for stage in recipe(progress.preset) if len(progress.running) == 1 else ():
        if progress.running.get(stage.name, progress.jobs) < progress.jobs:
            return stage if should_share(stage, progress.waiting, progress) else None
    return None


def should_share(stage: Stage, waiting: tuple[Stage, ...], progress: Progress) -> bool:
    """Whether nothing can run beside the stage and its batches can be shared."""
    return all_build_on(stage, waiting) and can_be_shared(stage, progress.preset, progress.jobs)


def all_build_on(stage: Stage, waiting: tuple[Stage, ...]) -> bool:
    """Whether all other waiting stages build on this one, directly or not."""
    built = {stage.name}
    for other in waiting:  # in the order of the recipe: what a stage builds on comes before it
        if built & set(other.after):
            built.add(other.name)
    return built >= {other.name for other in waiting}


def can_be_shared(stage: Stage, preset: str, processes: int) -> bool:
    """Whether each of several processes would have samples in every step."""
    return schedule_for(stage, preset).batch >= processes
