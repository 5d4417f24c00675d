"""How many replicas a service needs: the policy that Serve asks, and that `benchmarks.scaling` simulates.

Notable points:
- It follows what engines say of themselves (`services.engine.load`): requests that compute, requests that wait, and
  the real-time factor. A stream counts as one request for its whole life, so the number of calls says little.
- Two numbers follow from a load: how many replicas are `enough` for it, and how many would be `ample`, with room to
  spare. Replicas are added when more were needed during all of `up_seconds`, and removed when fewer were ample during
  all of `down_seconds`. What is ample is always enough, so a replica that was removed is not missed.
- A real-time factor that made replicas necessary teaches how many rows a replica can take; for an hour, what is ample
  is reckoned with that. Without it, a service whose slots are too many would lose and get a replica again and again.
- Replicas that report nothing, or nothing new, lead to no decision to remove one.
- It needs no Ray and no torch. Serve copies this module to its controller.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from services.engine.load import Load

log = logging.getLogger("ray.serve")  # of the controller

LESSON_SECONDS = 3600.0  # that a limit of rows is remembered
_ROUNDING = 1e-9  # of sums of floats, so that 3.0000000001 replicas are 3


@dataclass(frozen=True)
class Scaling:
    """Settings of the policy: `policy_kwargs` of a Serve file."""

    max_utilization: float = 0.7  # share of the slots, in use or asked for, above which a replica is added
    ample_utilization: float = 0.5  # share that must be enough for those that stay before one is removed
    max_real_time_factor: float = 0.8  # p95 above which a replica is added
    ample_real_time_factor: float = 0.6  # above which none is removed
    up_seconds: float = 10.0  # that more must be needed before replicas are added
    down_seconds: float = 300.0  # that fewer must be ample before replicas are removed
    max_growth: float = 2.0  # times the running replicas, at most, in one decision
    stale_seconds: float = 20.0  # age of a report that no longer counts

    def __post_init__(self) -> None:
        if not 0 < self.ample_utilization < self.max_utilization <= 1:
            raise ValueError(
                f"ample_utilization ({self.ample_utilization:g}) must be above 0 and below max_utilization "
                f"({self.max_utilization:g}), which is at most 1"
            )
        if not 0 < self.ample_real_time_factor < self.max_real_time_factor:
            raise ValueError(
                f"ample_real_time_factor ({self.ample_real_time_factor:g}) must be above 0 and below "
                f"max_real_time_factor ({self.max_real_time_factor:g})"
            )
        if self.max_growth <= 1:
            raise ValueError(f"max_growth ({self.max_growth:g}) must be above 1")
        if min(self.up_seconds, self.down_seconds) < 0 or self.stale_seconds <= 0:
            raise ValueError("up_seconds and down_seconds must not be negative, and stale_seconds must be above 0")

    @classmethod
    def of(cls, settings: Mapping[str, float]) -> Scaling:
        """Raises `ValueError` for a setting that does not exist or does not fit."""
        known = [field.name for field in fields(cls)]
        if unknown := set(settings) - set(known):
            raise ValueError(f"scaling has no setting {', '.join(sorted(unknown))}; it has {', '.join(known)}")
        return cls(**settings)


@dataclass(frozen=True)
class Bounds:
    """Of the number of replicas."""

    minimum: int
    maximum: int

    def clip(self, replicas: int) -> int:
        return max(self.minimum, min(self.maximum, replicas))


@dataclass(frozen=True)
class Need:
    """Replicas that a load needs, seen within one second."""

    when: float
    enough: int  # the fewest in that second
    ample: int  # the most in that second

    def joined(self, other: Need) -> Need:
        return Need(self.when, min(self.enough, other.enough), max(self.ample, other.ample))


@dataclass(frozen=True)
class Memory:
    """What the policy knows of the time before."""

    history: tuple[Need, ...] = ()  # oldest first
    rows: float = math.inf  # a replica that computed as many was too slow
    rows_until: float = 0.0  # that is forgotten then


@dataclass(frozen=True)
class FleetLoad:
    """The loads of some replicas of a service, at least one, together."""

    replicas: int
    asked: float  # rows that compute or wait
    slots: float  # of one replica
    factor: float  # mean over the replicas that have one; 0: none has

    @classmethod
    def of(cls, loads: Sequence[Load]) -> FleetLoad:
        factors = [load.real_time_factor for load in loads if load.real_time_factor is not None]
        return cls(
            replicas=len(loads),
            asked=sum(load.used + load.queued for load in loads),
            slots=max(sum(load.slots for load in loads) / len(loads), 1.0),
            factor=sum(factors) / len(factors) if factors else 0.0,
        )

    def __str__(self) -> str:
        asked = f"{self.asked:.1f} rows asked for of {self.slots:.0f} each"
        return f"{self.replicas} run, {asked}, real-time factor {self.factor:.2f}"

    @property
    def rows(self) -> float:
        """That a replica has, or has to wait for. At least one: a request alone is no faster with more replicas."""
        return max(self.asked / self.replicas, 1.0)


def need(scaling: Scaling, load: FleetLoad, rows: float, now: float) -> Need:
    """`rows`: that a replica can take, as far as is known."""
    enough = _ceil(load.asked / (load.slots * scaling.max_utilization))
    ample = _ceil(load.asked / (min(load.slots, rows) * scaling.ample_utilization))
    if load.factor > scaling.max_real_time_factor:
        enough = max(enough, _ceil(load.replicas * load.factor / scaling.max_real_time_factor))
    if load.factor > scaling.ample_real_time_factor:
        ample = max(ample, load.replicas)
    most = max(load.replicas + 1, _ceil(load.replicas * scaling.max_growth))
    return Need(now, min(enough, most), max(ample, enough))


def decide(
    scaling: Scaling,
    memory: Memory,
    loads: Sequence[Load],
    bounds: Bounds,
    target: int,
    now: float,
    complete: bool = True,
) -> tuple[int, Memory]:
    """(How many replicas there should be, what to remember).

    `loads`: at least one. `target`: how many there should be so far. `complete`: whether all replicas have reported.
    """
    load = FleetLoad.of(loads)
    rows = memory.rows if now < memory.rows_until else math.inf
    history = _remembered(scaling, memory.history, need(scaling, load, rows, now))
    memory = Memory(history, rows, memory.rows_until)
    enough = [entry.enough for entry in _since(history, now - scaling.up_seconds)]
    if enough and min(enough) > target:
        if load.factor > scaling.max_real_time_factor:
            memory = Memory(history, min(rows, load.rows), now + LESSON_SECONDS)
        return bounds.clip(min(enough)), memory
    ample = [entry.ample for entry in _since(history, now - scaling.down_seconds)]
    if complete and ample and max(ample) < target:
        return bounds.clip(max(ample)), memory
    return bounds.clip(target), memory


def _remembered(scaling: Scaling, history: Sequence[Need], latest: Need) -> tuple[Need, ...]:
    """The history with `latest`: one entry a second, over the longer of the two times."""
    longest = max(scaling.up_seconds, scaling.down_seconds)
    # One entry older than that stays: it shows that the whole time was seen.
    outside = [entry for entry in history if entry.when <= latest.when - longest][-1:]
    inside = [entry for entry in history if entry.when > latest.when - longest]
    if inside and latest.when - inside[-1].when < 1.0:
        latest = inside.pop().joined(latest)
    return (*outside, *inside, latest)


def _since(history: Sequence[Need], start: float) -> Sequence[Need]:
    """The entries from `start` on, with the one that held then; none where the history begins later."""
    first = next((i for i in range(len(history) - 1, -1, -1) if history[i].when <= start), None)
    return [] if first is None else history[first:]


def _ceil(replicas: float) -> int:
    return math.ceil(replicas - _ROUNDING)


class ScalingPolicy:
    """`policy_function` of a Serve file; `policy_kwargs` are the settings of `Scaling`."""

    def __init__(self, **settings: float):
        self.scaling = Scaling.of(settings)

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """`context`: Serve's `AutoscalingContext`. Called about twice a second; the state goes to the next call."""
        now, target = context.current_time, context.target_num_replicas
        bounds = Bounds(context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas)
        running = context.running_replicas
        loads = fresh_loads(context.raw_metrics or {}, running, now - self.scaling.stale_seconds)
        if 2 * len(loads) < len(running) or not loads:  # too few to know; start over when they report again
            return bounds.clip(target), {}
        memory = context.policy_state.get("memory", Memory())
        complete = len(loads) == len(running)
        wanted, memory = decide(self.scaling, memory, loads, bounds, target, now, complete)
        if wanted != target:
            log.info(f"{context.app_name}: {target} → {wanted} replicas; {FleetLoad.of(loads)}")
        return wanted, {"memory": memory}


def fresh_loads(
    metrics: Mapping[str, Mapping[Any, Sequence[Any]]], replicas: Iterable[Any], oldest: float
) -> list[Load]:
    """The loads of the replicas whose last report is not older than `oldest`, as means over what Serve keeps.

    `metrics`: metric → replica → points with `timestamp` and `value`, as in `AutoscalingContext.raw_metrics`.
    """
    loads = []
    for replica in replicas:
        series = {name: points[replica] for name, points in metrics.items() if points.get(replica)}
        stats = {name: _mean(points) for name, points in series.items() if points[-1].timestamp >= oldest}
        try:
            loads.append(Load.of(stats))
        except KeyError:  # it has not reported yet, or not lately
            continue
    return loads


def _mean(points: Sequence[Any]) -> float:
    return sum(point.value for point in points) / len(points)
