"""The simulation of a day: it keeps to Little's law, gives the same for the same seed, and pays for what it uses."""

import json

import numpy as np
import pytest

from benchmarks import scaling
from benchmarks.scaling import DAY, FEWEST, WARM_UP, Fleet, Pool, first_audio, simulate, summary, talkers_of_day
from benchmarks.scaling_times import SCENARIOS, Cluster
from services.ray.scaling import Scaling

CLUSTER = Cluster(node_gpus=8, node_start_seconds=100, node_idle_seconds=50, gpu_hour=1.0, unit="GPU")
LLM = SCENARIOS["vita-7b-h200"].services["llm_core"]


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
def test_requests_inside_are_their_rate_times_their_time(scenario):
    for times in scenario.services.values():
        hold, _ = times.hold(times.slots * 0.5)
        rate = times.slots * 0.5 / hold * 10  # ten replicas, half full
        fleet = Fleet(times, scenario.cluster, Scaling(), rate)
        fleet.pool.ready = fleet.pool.wanted = 10
        fleet.inside = 0.0
        for _ in range(600):
            fleet._flow(10, rate)
        assert fleet.inside == pytest.approx(10 * times.slots * 0.5, rel=0.02)


def test_what_is_more_than_all_can_do_waits_and_is_refused():
    fleet = Fleet(LLM, CLUSTER, Scaling(), 1.0)
    hold, _ = LLM.hold(LLM.slots)
    capacity = LLM.slots / hold
    refused = [fleet._flow(1, 2 * capacity) for _ in range(100)]
    assert fleet.inside == pytest.approx(LLM.slots + LLM.queue)
    assert refused[0] == 0 and refused[-1] == pytest.approx(capacity)


def test_replicas_come_with_their_node_and_leave_after_their_drain():
    pool = Pool(LLM, CLUSTER, drain_seconds=30, ready=8)  # all of a node
    assert (pool.nodes, pool.gpus) == (1, 8)
    pool.wanted = 9
    seen = {}
    for now in range(500):
        pool.advance(now)
        seen[now] = (pool.ready, pool.nodes, pool.gpus)
    assert seen[0] == (8, 1, 16)  # a node that comes is paid for
    assert seen[99][:2] == (8, 1) and seen[100][:2] == (8, 2)
    ready_at = next(now for now, (ready, *_) in seen.items() if ready == 9)
    assert ready_at == 100 + LLM.start_seconds
    pool.wanted = 8
    for now in range(500, 600):
        pool.advance(now)
        seen[now] = (pool.ready, pool.nodes, pool.gpus)
    assert seen[500] == (8, 2, 16) and seen[529][2] == 16
    assert seen[599] == (8, 1, 8)  # after drain and idle time


def test_a_day_holds_the_promises_of_the_policy():
    talkers = talkers_of_day(2000)
    assert len(talkers) == WARM_UP + DAY and talkers.max() == pytest.approx(2000, rel=1e-3)
    scenario = SCENARIOS["vita-7b-h200"]
    histories = simulate(scenario, Scaling(), talkers[: WARM_UP + DAY], seed=3)
    again = simulate(scenario, Scaling(), talkers, seed=3)
    rows = summary(scenario, Scaling(), histories)
    assert rows == summary(scenario, Scaling(), again)
    for row, history in zip(rows, histories.values(), strict=True):
        assert row["replicas_min"] >= FEWEST
        needed = 2000 / row["talkers_per_gpu"] / scenario.services[row["service"]].gpus
        assert needed <= row["replicas_max"] <= max(2 * needed + 1, FEWEST)
        placed = history.day("replicas") * scenario.services[row["service"]].gpus
        assert (history.day("gpus") >= placed).all()
    delays = first_audio(scenario, histories, seed=3)
    assert 0.1 < np.median(delays) < 0.3 and (delays > 0).all()


def test_the_program_prints_draws_and_writes(tmp_path, monkeypatch, capsys):
    picture, facts = tmp_path / "day.png", tmp_path / "day.json"
    arguments = ["scaling", "--talkers", "500", "--picture", str(picture), "--json", str(facts), "--gpu-hour", "2"]
    monkeypatch.setattr("sys.argv", arguments)
    scaling.main()
    assert "| llm_core " in capsys.readouterr().out
    assert picture.stat().st_size > 10_000
    assert json.loads(facts.read_text())["totals"]["cost_per_hour"] > 0


def test_settings_that_do_not_fit_are_named(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["scaling", "--ample-utilization", "0.9"])
    with pytest.raises(SystemExit):
        scaling.main()
    assert "ample_utilization (0.9) must be above 0 and below max_utilization (0.7)" in capsys.readouterr().err
