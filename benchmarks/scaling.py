"""A day of traffic under the policy that scales the services: how many replicas and GPUs, how fast, at what price.

    python -m benchmarks.scaling [--scenario vita-7b-h200] [--talkers 100000] [--picture FILE] [--json FILE]

The decisions are those of `services.ray.scaling`, the code that Serve calls, from reports as late as Serve's. The rest
is a model: each second, Poisson arrivals of turns from the talkers of that second; replicas that hold a slot for every
request and take for a step what `benchmarks.scaling_times` says of so many rows; replicas that start and drain, on
nodes that take minutes to come. Load is shared evenly among the replicas of a service. A seed always gives the same
day.

Prices are examples: set yours with `--gpu-hour`.
"""

from __future__ import annotations

import argparse
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.measuring import table, write_json
from benchmarks.scaling_times import SCENARIOS, Cluster, Scenario, ServiceTimes
from services.engine.load import Load
from services.ray.scaling import Bounds, Memory, Scaling, decide
from services.ray.serve_config import DRAIN_SECONDS, REPORTING

DAY = 24 * 3600
WARM_UP = 3600  # seconds before the day, not counted
DECIDE_SECONDS = 5  # a report of a replica is this old at most
FEWEST = 2  # replicas of a service at any time
NIGHT, NOON, EVENING = 0.06, 0.62, 1.0  # of all talkers
CROWD_AT, CROWD_SECONDS, CROWD = 15 * 3600, 900, 0.25  # in the afternoon a quarter more come within two minutes


def talkers_of_day(most: int) -> np.ndarray:
    """Talkers in each second, from midnight on: a night, a hump at noon and one in the evening, and a sudden crowd."""
    hour = np.arange(-WARM_UP, DAY) / 3600
    noon = np.exp(-0.5 * ((hour - 12.5) / 2.2) ** 2) * (NOON - NIGHT)
    evening = np.exp(-0.5 * ((hour - 20.5) / 1.6) ** 2) * (EVENING - NIGHT)
    usual = np.maximum.reduce([NIGHT + noon, NIGHT + evening])
    since = (hour * 3600) - CROWD_AT
    crowd = CROWD * np.clip(since / 120, 0, 1) * np.clip((CROWD_SECONDS - since) / 300, 0, 1)
    return most * np.minimum(usual + crowd, 1.0)


class Pool:
    """The nodes of a service, and how many of its replicas they hold: starting, ready or draining."""

    def __init__(self, times: ServiceTimes, cluster: Cluster, drain_seconds: float, ready: int):
        self.times, self.cluster, self.drain_seconds = times, cluster, drain_seconds
        self.ready, self.wanted = ready, ready
        self.starting: deque[float] = deque()  # when each is ready
        self.draining: deque[float] = deque()  # when each is gone
        self.nodes = self._nodes_for(ready)
        self.coming: deque[float] = deque()  # when each node takes pods
        self.empty_since: float | None = None

    def _nodes_for(self, replicas: int) -> int:
        return -(-round(replicas * self.times.gpus * 1000) // (self.cluster.node_gpus * 1000))

    @property
    def placed(self) -> int:
        """Replicas that hold a part of a node."""
        return self.ready + len(self.starting) + len(self.draining)

    @property
    def gpus(self) -> int:
        """That are paid for."""
        return (self.nodes + len(self.coming)) * self.cluster.node_gpus

    def advance(self, now: float) -> None:
        """One second: nodes and replicas come and go."""
        while self.coming and self.coming[0] <= now:
            self.coming.popleft()
            self.nodes += 1
        while self.starting and self.starting[0] <= now:
            self.starting.popleft()
            self.ready += 1
        while self.draining and self.draining[0] <= now:
            self.draining.popleft()
        self._shrink(now)
        self._grow(now)

    def _shrink(self, now: float) -> None:
        while self.ready + len(self.starting) > self.wanted:
            if self.starting:
                self.starting.pop()
            else:
                self.ready -= 1
                self.draining.append(now + self.drain_seconds)
        surplus = self.nodes - self._nodes_for(max(self.placed, self.wanted))
        if surplus <= 0:
            self.empty_since = None
        elif self.empty_since is None:
            self.empty_since = now
        elif now - self.empty_since >= self.cluster.node_idle_seconds:
            self.nodes, self.empty_since = self.nodes - surplus, None

    def _grow(self, now: float) -> None:
        missing = self.wanted - self.ready - len(self.starting)
        room = int(self.nodes * self.cluster.node_gpus / self.times.gpus + 1e-9) - self.placed
        for _ in range(min(missing, room)):
            self.starting.append(now + self.times.start_seconds)
        lacking = self._nodes_for(self.placed + max(missing - max(room, 0), 0)) - self.nodes - len(self.coming)
        self.coming.extend([now + self.cluster.node_start_seconds] * max(lacking, 0))


@dataclass
class History:
    """What happened to a service, by second."""

    replicas: list[int] = field(default_factory=list)
    gpus: list[int] = field(default_factory=list)
    utilization: list[float] = field(default_factory=list)
    factor: list[float] = field(default_factory=list)  # real-time factor
    wait: list[float] = field(default_factory=list)  # seconds for a slot
    step: list[float] = field(default_factory=list)  # seconds
    refused: list[float] = field(default_factory=list)  # requests

    def day(self, name: str) -> np.ndarray:
        return np.array(getattr(self, name)[WARM_UP:])


class Fleet:
    """A service: its pool, the requests in it, and the policy."""

    def __init__(self, times: ServiceTimes, cluster: Cluster, scaling: Scaling, rate: float):
        """`rate`: requests a second at the beginning."""
        self.times, self.scaling = times, scaling
        hold, _ = times.hold(times.slots * scaling.max_utilization)
        first = max(FEWEST, int(np.ceil(rate * hold / times.slots / scaling.ample_utilization)))
        self.pool = Pool(times, cluster, drain_seconds=min(30.0 + hold, DRAIN_SECONDS), ready=first)
        self.inside = rate * hold  # requests, in slots and waiting
        self.seen: deque[tuple[float, float]] = deque(maxlen=int(REPORTING["look_back_period_s"]))  # used, waiting
        self.memory = Memory()
        self.history = History()

    def second(self, now: int, arrivals: float) -> None:
        self.pool.advance(now)
        ready, times = self.pool.ready, self.times
        refused = self._flow(ready, arrivals)
        rows = min(self.inside / ready, times.slots)
        hold, step = times.hold(rows)
        waiting = max(self.inside - ready * times.slots, 0.0)
        factor = times.factor(step)
        self.seen.append((ready * times.slots * times.utilization(rows, arrivals / ready), waiting))
        if now % DECIDE_SECONDS == 0:
            self._decide(now, factor)
        wait = waiting * hold / (ready * times.slots)
        self._record(ready, self.seen[-1][0] / ready / times.slots, factor, wait, step, refused)

    def _flow(self, ready: int, arrivals: float) -> float:
        """The requests inside after a second of `arrivals`. Returns how many of these were refused."""
        times, most = self.times, ready * (self.times.slots + self.times.queue)
        hold, _ = times.hold(times.slots)
        capacity = ready * times.slots / hold  # requests a second, with all slots in use
        if self.inside > ready * times.slots or arrivals > capacity:
            full = min((self.inside + arrivals) / (ready * times.slots), 1.0)
            self.inside = max(self.inside + arrivals - full * capacity, 0.0)
            refused = max(self.inside - most, 0.0)
            self.inside -= refused
            return refused
        settled = ready * times.rows_at(arrivals / ready)
        hold, _ = times.hold(settled / ready)
        self.inside = settled + (self.inside - settled) * math.exp(-1 / hold)
        return 0.0

    def _decide(self, now: int, factor: float | None) -> None:
        """As a replica reports: means over the time that Serve looks back."""
        pool, number = self.pool, len(self.seen) * self.pool.ready
        used, waiting = (sum(values) / number for values in zip(*self.seen, strict=True))
        loads = [Load(self.times.slots, used, waiting, factor)] * pool.ready
        bounds = Bounds(FEWEST, 1_000_000)
        pool.wanted, self.memory = decide(self.scaling, self.memory, loads, bounds, pool.wanted, now)

    def _record(
        self, replicas: int, utilization: float, factor: float | None, wait: float, step: float, refused: float
    ):
        history = self.history
        history.replicas.append(replicas)
        history.gpus.append(self.pool.gpus)
        history.utilization.append(utilization)
        history.factor.append(factor or 0.0)
        history.wait.append(wait)
        history.step.append(step)
        history.refused.append(refused)


def simulate(scenario: Scenario, scaling: Scaling, talkers: np.ndarray, seed: int) -> dict[str, History]:
    """By service. `talkers`: in each second."""
    rng = np.random.default_rng(seed)
    rates = talkers / scenario.turn.seconds
    histories = {}
    for name, times in scenario.services.items():
        fleet = Fleet(times, scenario.cluster, scaling, rates[0] * times.share)
        for now, arrivals in enumerate(rng.poisson(rates * times.share)):
            fleet.second(now, float(arrivals))
        histories[name] = fleet.history
    return histories


def first_audio(scenario: Scenario, histories: dict[str, History], seed: int) -> np.ndarray:
    """Seconds from the end of the question to the first audio, of one turn in each second of the day.

    Work that runs while the user speaks delays it only where it takes longer than that.
    """
    rng, turn = np.random.default_rng(seed), scenario.turn
    total = np.full(DAY, turn.gateway_ms / 1000)
    for name, times in scenario.services.items():
        step, wait = histories[name].day("step"), histories[name].day("wait")
        joining = rng.uniform(0, 1, DAY) * step  # for the step that runs
        if name == "vision_encoder":
            total += np.maximum(wait + joining + step - turn.question_seconds, 0.0)
            continue
        if times.paced_seconds:
            wait = np.maximum(wait - times.paced_seconds, 0.0)
        total += wait + joining + times.first_steps * step + times.first_ms / 1000
    return total


def weighted_percentile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) >= share * weights.sum()
    return float(values[order][np.argmax(reached)])


def carried(scenario: Scenario, times: ServiceTimes, scaling: Scaling) -> tuple[float, str]:
    """(Talkers that one GPU or core carries at the policy's limits, what limits them)."""
    rate, limit = 0.0, "slots"
    for rows in np.linspace(0, times.slots, 1001)[1:]:
        hold, step = times.hold(rows)
        if times.utilization(rows, rows / hold) > scaling.max_utilization:
            break
        if (times.factor(step) or 0.0) > scaling.max_real_time_factor:
            limit = "real-time factor"
            break
        rate = rows / hold
    return rate / times.share * scenario.turn.seconds / times.gpus, limit


def summary(scenario: Scenario, scaling: Scaling, histories: dict[str, History]) -> list[dict[str, object]]:
    """A row for each service."""
    rows = []
    for name, history in histories.items():
        times, replicas, gpus = scenario.services[name], history.day("replicas"), history.day("gpus")
        talkers, limit = carried(scenario, times, scaling)
        changes = np.diff(replicas)
        rows.append(
            {
                "service": name,
                "replicas_min": int(replicas.min()),
                "replicas_max": int(replicas.max()),
                "gpus_max": int(gpus.max()),
                "gpu_hours": float(gpus.sum() / 3600),
                "cost_per_hour": float(gpus.mean() * scenario.cluster.gpu_hour),
                "talkers_per_gpu": talkers,
                "limit": limit,
                "utilization": float(history.day("utilization").mean()),
                "factor_max": float(history.day("factor").max()),
                "worst_wait_s": float(history.day("wait").max()),
                "refused": int(history.day("refused").sum()),
                "added": int(changes[changes > 0].sum()),
                "removed": int(-changes[changes < 0].sum()),
            }
        )
    return rows


COLUMNS = (
    *("service", "replicas_min", "replicas_max", "gpus_max", "gpu_hours", "cost_per_hour", "talkers_per_gpu", "limit"),
    *("utilization", "factor_max", "worst_wait_s", "refused", "added", "removed"),
)


def totals(
    scenario: Scenario, rows: Sequence[dict], talkers: np.ndarray, histories: dict[str, History], delays: np.ndarray
) -> dict[str, float]:
    """Of the day. `delays`: to the first audio. `fixed`: the GPUs of the busiest moment, all day."""
    weights = talkers[WARM_UP:]
    together = sum(history.day("gpus") for history in histories.values())
    turns = weights.sum() / scenario.turn.seconds
    cost = float(together.mean() * scenario.cluster.gpu_hour)
    return {
        "turns": float(turns),
        "gpus_max": int(together.max()),
        "cost_per_hour": cost,
        "cost_per_hour_fixed": float(together.max() * scenario.cluster.gpu_hour),
        "cost_per_1000_turns": 1000 * 24 * cost / float(turns),
        "first_audio_p50_ms": 1000 * weighted_percentile(delays, weights, 0.5),
        "first_audio_p95_ms": 1000 * weighted_percentile(delays, weights, 0.95),
        "first_audio_p95_worst_5_min_ms": float(1000 * np.percentile(delays.reshape(-1, 300), 95, axis=1).max()),
        "refused_share": sum(row["refused"] for row in rows) / float(turns),
    }


def breaks_first(rows: Sequence[dict]) -> str:
    """The service that the sudden crowd hurts most."""
    worst = max(rows, key=lambda row: (row["refused"], row["worst_wait_s"], row["factor_max"]))
    fewest = min(rows, key=lambda row: row["talkers_per_gpu"])
    text = f"fewest talkers a GPU: {fewest['service']} ({fewest['talkers_per_gpu']:.0f}, by its {fewest['limit']})"
    if worst["refused"] or worst["worst_wait_s"] > 0:
        hurt = f"waits up to {worst['worst_wait_s']:.1f} s, {worst['refused']} refused"
        return f"{text}; hurt most: {worst['service']} ({hurt})"
    return f"{text}; no request waited for a slot"


def draw(
    path: Path, scenario: Scenario, talkers: np.ndarray, histories: dict[str, History], delays: np.ndarray
) -> None:
    """The day as a picture: traffic, replicas by service, GPUs paid for, first audio."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    hours, unit = np.arange(DAY) / 3600, scenario.cluster.unit
    figure, axes = pyplot.subplots(4, 1, figsize=(9, 9), sharex=True, layout="constrained")
    axes[0].plot(hours, talkers[WARM_UP:], color="black")
    axes[0].set_ylabel("talkers")
    for name, history in histories.items():
        axes[1].plot(hours, history.day("replicas"), label=name)
    axes[1].set_ylabel("replicas ready")
    axes[1].set_yscale("log")
    axes[1].legend(fontsize="small", loc="upper left")
    axes[2].stackplot(hours, [history.day("gpus") for history in histories.values()], labels=list(histories))
    axes[2].set_ylabel(f"{unit}s paid for")
    minutes = delays.reshape(-1, 300)
    middle = (np.arange(len(minutes)) + 0.5) / 12
    axes[3].plot(middle, 1000 * np.percentile(minutes, 95, axis=1), label="p95 of 5 minutes")
    axes[3].plot(middle, 1000 * np.percentile(minutes, 50, axis=1), label="p50")
    axes[3].set_ylabel("first audio, ms")
    axes[3].set_yscale("log")
    axes[3].legend(fontsize="small", loc="upper left")
    axes[3].set_xlabel("hour of the day")
    axes[3].set_xlim(0, 24)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=SCENARIOS, default="vita-7b-h200", help="engines and cluster")
    parser.add_argument("--talkers", type=int, default=100_000, help="at the busiest moment")
    parser.add_argument("--gpu-hour", type=float, help="price of a GPU (or a core) for an hour")
    parser.add_argument("--node-seconds", type=float, help="that a new node takes to come")
    parser.add_argument("--llm-slots", type=int, help="slots of an LLM core")
    parser.add_argument("--max-utilization", type=float, default=Scaling.max_utilization)
    parser.add_argument("--ample-utilization", type=float, default=Scaling.ample_utilization)
    parser.add_argument("--up-seconds", type=float, default=Scaling.up_seconds)
    parser.add_argument("--down-seconds", type=float, default=Scaling.down_seconds)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--picture", type=Path, help="draw the day here")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()

    scenario = adjusted(SCENARIOS[arguments.scenario], arguments)
    names = ("max_utilization", "ample_utilization", "up_seconds", "down_seconds")
    try:
        scaling = Scaling.of({name: getattr(arguments, name) for name in names})
    except ValueError as error:
        parser.error(str(error))
    talkers = talkers_of_day(arguments.talkers)
    histories = simulate(scenario, scaling, talkers, arguments.seed)
    delays = first_audio(scenario, histories, arguments.seed)
    rows = summary(scenario, scaling, histories)
    facts = totals(scenario, rows, talkers, histories, delays)
    print(table(rows, COLUMNS))
    print(
        ", ".join(f"{name} {value:,.4g}" if value < 1000 else f"{name} {value:,.0f}" for name, value in facts.items())
    )
    print(breaks_first(rows))
    if arguments.picture:
        draw(arguments.picture, scenario, talkers, histories, delays)
    if arguments.json:
        write_json(arguments.json, {"scenario": arguments.scenario, "totals": facts, "rows": rows})


def adjusted(scenario: Scenario, arguments: argparse.Namespace) -> Scenario:
    """With what was set on the command line."""
    cluster, services = scenario.cluster, dict(scenario.services)
    if arguments.gpu_hour is not None:
        cluster = replace(cluster, gpu_hour=arguments.gpu_hour)
    if arguments.node_seconds is not None:
        cluster = replace(cluster, node_start_seconds=arguments.node_seconds)
    if arguments.llm_slots is not None:
        services["llm_core"] = replace(services["llm_core"], slots=arguments.llm_slots)
    return replace(scenario, cluster=cluster, services=services)


if __name__ == "__main__":
    main()
