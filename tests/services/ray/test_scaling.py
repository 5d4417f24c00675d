"""The policy that decides how many replicas a service has, without a running Ray."""

import itertools
import math
import random
import subprocess
import sys
from types import SimpleNamespace

import pytest

from services.engine.load import Load
from services.ray.scaling import LESSON_SECONDS, Bounds, FleetLoad, Memory, Scaling, ScalingPolicy, decide, need

SCALING = Scaling(up_seconds=10, down_seconds=60)
BOUNDS = Bounds(1, 100)


class Fleet:
    """Replicas of 10 slots under a number of requests, and the policy's decisions about them, every second.

    New replicas run after `start_seconds`; removed ones are gone at once.
    """

    def __init__(self, scaling=SCALING, bounds=BOUNDS, target=1, start_seconds=5.0):
        self.scaling, self.bounds, self.target, self.start_seconds = scaling, bounds, target, start_seconds
        self.now, self.memory, self.changes = 0.0, Memory(), []
        self.running, self.starting = target, []

    def loads(self, requests, factor=None):
        each = requests / self.running
        return [Load(10, min(each, 10), max(each - 10, 0), factor)] * self.running

    def run(self, seconds, requests, factor=None):
        """`requests`, `factor`: numbers, or functions of the time and of the running replicas."""
        until = self.now + seconds
        while self.now < until:
            self.now += 1.0
            self.running += sum(when <= self.now for when in self.starting)
            self.starting = [when for when in self.starting if when > self.now]
            asked = requests(self.now) if callable(requests) else requests
            loads = self.loads(asked, factor(self.running) if callable(factor) else factor)
            wanted, self.memory = decide(self.scaling, self.memory, loads, self.bounds, self.target, self.now)
            self._change(wanted)
        return self.target

    def _change(self, target):
        if target != self.target:
            self.changes.append((self.now, target))
        if target > self.target:
            self.starting += [self.now + self.start_seconds] * (target - self.target)
        elif target < self.target:
            gone = self.target - target
            self.starting, self.running = (
                self.starting[: len(self.starting) - min(gone, len(self.starting))],
                self.running - max(gone - len(self.starting), 0),
            )
        self.target = target


def test_the_module_needs_neither_ray_nor_torch():
    code = "import sys, services.ray.scaling; print([name for name in ('ray', 'torch', 'grpc') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_replicas_are_added_after_the_time_of_up():
    fleet = Fleet()
    fleet.run(30, 5)
    assert fleet.changes == []
    fleet.run(9, 14)
    assert fleet.changes == []  # not yet
    assert fleet.run(10, 14) == 2
    assert [target for _, target in fleet.changes] == [2]


def test_a_peak_shorter_than_that_adds_none():
    fleet = Fleet()
    for _ in range(20):
        fleet.run(8, 30)
        fleet.run(4, 3)
    assert fleet.changes == []


def test_replicas_are_removed_after_the_time_of_down():
    fleet = Fleet(target=8)
    fleet.run(60, 10)
    assert fleet.changes == []
    assert fleet.run(10, 10) == math.ceil(10 / (10 * SCALING.ample_utilization))


def test_a_peak_within_that_time_keeps_them():
    fleet = Fleet(target=8)
    for _ in range(10):
        fleet.run(50, 10)
        fleet.run(3, 40)
    assert fleet.target == 8


def test_growth_is_limited_in_one_decision_but_goes_on():
    fleet = Fleet(start_seconds=1)
    fleet.run(300, 500)
    targets = [target for _, target in fleet.changes]
    assert targets[:3] == [2, 4, 8]
    assert targets[-1] == math.ceil(500 / 7)


def test_replicas_that_are_starting_are_not_asked_for_again():
    fleet = Fleet(start_seconds=120)  # as a new GPU node
    fleet.run(100, 14)
    assert [target for _, target in fleet.changes] == [2]


def test_a_slow_engine_is_given_help_although_slots_are_free():
    fleet = Fleet(start_seconds=1)
    assert fleet.run(40, 2, factor=lambda running: 1.5 / running) == 2
    assert fleet.run(300, 2, factor=lambda running: 1.5 / running) == 2  # 0.75 each: neither more nor fewer


@pytest.mark.parametrize("factor", [0.3, 0.59])
def test_a_factor_that_one_request_has_alone_does_not_keep_replicas(factor):
    assert Fleet(target=6).run(900, 1, factor=factor) == 1


def test_a_high_factor_keeps_replicas_that_slots_do_not_need():
    assert Fleet(target=6).run(900, 1, factor=0.7) == 6


def test_a_service_with_too_many_slots_does_not_lose_and_get_a_replica_again_and_again():
    """Alone, one replica is too slow for 4 rows; with two, slots and factor say that one would do."""
    fleet = Fleet(start_seconds=1)
    fleet.run(1800, 4, factor=lambda running: {1: 0.9}.get(running, 0.4))
    assert [target for _, target in fleet.changes] == [2]
    fleet.run(LESSON_SECONDS, 4, factor=lambda running: {1: 0.9}.get(running, 0.4))
    assert len(fleet.changes) <= 3  # it is tried again when the lesson is forgotten


def test_what_was_learned_lets_replicas_go_when_there_is_less_to_do():
    fleet = Fleet(start_seconds=1)
    fleet.run(600, 6, factor=lambda running: {1: 0.9}.get(running, 0.4))
    assert fleet.target == 2
    assert fleet.run(600, 2, factor=0.3) == 1


@pytest.mark.parametrize(
    ("bounds", "requests", "expected"), [(Bounds(2, 5), 1, 2), (Bounds(2, 5), 500, 5), (Bounds(3, 3), 500, 3)]
)
def test_bounds_hold(bounds, requests, expected):
    fleet = Fleet(bounds=bounds, target=bounds.minimum, start_seconds=1)
    assert fleet.run(400, requests) == expected
    assert all(bounds.minimum <= target <= bounds.maximum for _, target in fleet.changes)


def test_a_target_outside_new_bounds_is_brought_in_at_once():
    for bounds, target, expected in [(Bounds(4, 8), 1, 4), (Bounds(1, 8), 20, 8)]:
        assert decide(SCALING, Memory(), [Load(10, 0, 0)], bounds, target, 0.0)[0] == expected


@pytest.mark.parametrize("seed", range(20))
def test_a_steady_load_with_noise_never_flaps(seed):
    """After the replicas that a level needs, none is removed and added again while the level lasts."""
    rng = random.Random(seed)
    fleet = Fleet(start_seconds=rng.choice([1, 5, 30]))
    for _ in range(4):
        level = rng.uniform(1, 200)
        fleet.run(600, lambda now, level=level: level * rng.uniform(0.95, 1.05))
        settled = len(fleet.changes)
        fleet.run(600, lambda now, level=level: level * rng.uniform(0.95, 1.05))
        directions = [
            later > earlier
            for (_, earlier), (_, later) in zip(fleet.changes[settled:], fleet.changes[settled + 1 :], strict=False)
        ]
        assert len(set(directions)) <= 1, fleet.changes


@pytest.mark.parametrize("seed", range(200))
def test_what_is_ample_would_not_be_added_to(seed):
    rng = random.Random(seed)
    loads = [
        Load(10, rng.uniform(0, 10), rng.choice([0, 0, rng.uniform(0, 20)]), rng.choice([None, rng.uniform(0, 3)]))
        for _ in range(rng.randint(1, 50))
    ]
    load, rows = FleetLoad.of(loads), rng.choice([math.inf, 3.0])
    found = need(SCALING, load, rows, 0.0)
    assert found.ample >= found.enough
    shared = load.replicas * load.factor / max(found.ample, load.replicas)
    after = FleetLoad(found.ample, load.asked, load.slots, shared)
    assert need(SCALING, after, rows, 0.0).enough <= max(found.ample, 1)


def test_the_history_is_bounded_and_keeps_one_entry_a_second():
    memory, now = Memory(), 0.0
    for _ in range(1000):
        now += 0.25
        _, memory = decide(SCALING, memory, [Load(10, 5, 0)], BOUNDS, 1, now)
    assert SCALING.down_seconds <= len(memory.history) <= SCALING.down_seconds + 2
    whens = [entry.when for entry in memory.history]
    assert min(later - earlier for earlier, later in itertools.pairwise(whens)) >= 1.0


def test_an_entry_holds_the_fewest_and_the_most_of_its_second():
    _, memory = decide(SCALING, Memory(), [Load(10, 10, 40)], BOUNDS, 9, 0.0)
    _, memory = decide(SCALING, memory, [Load(10, 1, 0)], BOUNDS, 9, 0.5)
    (entry,) = memory.history
    assert (entry.when, entry.enough, entry.ample) == (0.0, 1, 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_utilisation": 0.5}, "no setting max_utilisation; it has max_utilization"),
        ({"ample_utilization": 0.8}, "ample_utilization"),
        ({"ample_real_time_factor": 0.9}, "ample_real_time_factor"),
        ({"max_growth": 1.0}, "max_growth"),
        ({"down_seconds": -1}, "negative"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ScalingPolicy(**settings)


def point(when, value):
    return SimpleNamespace(timestamp=when, value=value)


class Serve:
    """What Serve gives the policy, in the forms of its `AutoscalingContext`."""

    def __init__(self, policy, target=1, bounds=BOUNDS):
        self.policy, self.target, self.bounds, self.state, self.now = policy, target, bounds, {}, 1000.0

    def tick(self, stats, replicas=None, age=0.0):
        """`stats`: by replica, the values of its last two points."""
        self.now += 1.0
        metrics = {}
        for replica, values in stats.items():
            for name, value in values.items():
                points = [point(self.now - age - 2, value), point(self.now - age, value)]
                metrics.setdefault(name, {})[replica] = points
        context = SimpleNamespace(
            raw_metrics=metrics,
            app_name="llm_core",
            running_replicas=list(stats) if replicas is None else replicas,
            current_time=self.now,
            target_num_replicas=self.target,
            capacity_adjusted_min_replicas=self.bounds.minimum,
            capacity_adjusted_max_replicas=self.bounds.maximum,
            policy_state=dict(self.state),
        )
        self.target, self.state = self.policy(context)
        return self.target


BUSY, FREE = Load(10, 10, 4, 0.5).stats(), Load(10, 0, 0).stats()


def test_serve_is_told_to_add_and_to_remove_and_logs_why(caplog):
    caplog.set_level("INFO", "ray.serve")
    serve = Serve(ScalingPolicy(up_seconds=5, down_seconds=20))
    assert [serve.tick({"r1": BUSY}) for _ in range(10)][-1] == 2
    assert [serve.tick({"r1": FREE, "r2": FREE}) for _ in range(30)][-1] == 1
    assert [record.getMessage() for record in caplog.records] == [
        "llm_core: 1 → 2 replicas; 1 run, 14.0 rows asked for of 10 each, real-time factor 0.50",
        "llm_core: 2 → 1 replicas; 2 run, 0.0 rows asked for of 10 each, real-time factor 0.00",
    ]


@pytest.mark.parametrize(
    "broken",
    [
        {"stats": {}, "replicas": ["r1", "r2", "r3"]},  # nobody has reported
        {"stats": {"r1": FREE}, "replicas": ["r1", "r2", "r3"]},  # a minority has
        {"stats": {name: FREE for name in ("r1", "r2", "r3")}, "age": 25.0},  # long ago
        {"stats": {name: {"slots": 10} for name in ("r1", "r2", "r3")}},  # incomplete
        {"stats": {}, "replicas": []},  # none runs
    ],
)
def test_missing_or_stale_reports_keep_the_target(broken):
    serve = Serve(ScalingPolicy(up_seconds=0, down_seconds=5), target=3)
    assert {serve.tick(**broken) for _ in range(60)} == {3}


def test_a_replica_that_is_silent_keeps_all_but_not_the_load_of_the_others():
    serve = Serve(ScalingPolicy(up_seconds=5, down_seconds=5), target=3)
    some = {"r1": FREE, "r2": FREE}
    assert {serve.tick(some, replicas=["r1", "r2", "r3"]) for _ in range(60)} == {3}
    crowd = Load(10, 10, 30).stats()
    assert [serve.tick({"r1": crowd, "r2": crowd}, replicas=["r1", "r2", "r3"]) for _ in range(10)][-1] > 3


def test_after_a_silence_the_times_begin_anew():
    serve = Serve(ScalingPolicy(up_seconds=5, down_seconds=20), target=2)
    for _ in range(15):
        serve.tick({"r1": FREE, "r2": FREE})
    serve.tick({}, replicas=["r1", "r2"])
    assert [serve.tick({"r1": FREE, "r2": FREE}) for _ in range(15)][-1] == 2


def test_the_loads_are_means_over_what_serve_keeps():
    policy = ScalingPolicy(up_seconds=0)
    points = {name: {"r1": [point(1.0, 0), point(2.0, 20)]} for name in ("slots_used", "queue_length")}
    points["slots"] = {"r1": [point(1.0, 20), point(2.0, 20)]}
    context = SimpleNamespace(
        raw_metrics=points,
        app_name="llm_core",
        running_replicas=["r1"],
        current_time=3.0,
        target_num_replicas=1,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=9,
        policy_state={},
    )
    assert policy(context)[0] == math.ceil(20 / 20 / 0.7)
