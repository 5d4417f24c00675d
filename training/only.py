"""Some parts of a stage alone: the others are frozen, and sources that teach none of these parts are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from training.recipe import Schedule, Stage


def only(stage: Stage, parts: Sequence[str]) -> Stage:
    """The stage, training these of its parts; none means all. Raises `ValueError` for parts that it does not train."""
    if unknown := [part for part in parts if part not in stage.trains]:
        raise ValueError(
            f"stage {stage.name} does not train {', '.join(unknown)}; it trains: {', '.join(stage.trains)}"
        )
    if not parts:
        return stage
    return replace(
        stage,
        trains=tuple(part for part in stage.trains if part in parts),
        reads=(*stage.reads, *(part for part in stage.trains if part not in parts)),
        nano=_teaching(stage.nano, parts),
        full=None if stage.full is None else _teaching(stage.full, parts),
    )


def _teaching(schedule: Schedule, parts: Sequence[str]) -> Schedule:
    """The schedule with the sources that teach one of the parts; all, where one of them learns from all."""
    if not all(part in schedule.taught_by for part in parts):
        return schedule
    names = {name for part in parts for name in schedule.taught_by[part]}
    mixture = _some(schedule.mixture, names)
    total = sum(mixture.values())
    return replace(
        schedule,
        mixture={name: 100 * percent / total for name, percent in mixture.items()},
        shares=_some(schedule.shares, names),
        as_many=_some(schedule.as_many, names),
    )


def _some(table: Mapping, names: set[str]) -> dict:
    return {name: value for name, value in table.items() if name in names}
