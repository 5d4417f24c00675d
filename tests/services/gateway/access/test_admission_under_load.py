"""More come than can be served: what the rule does over a simulated minute, where answers get late as sessions grow."""

from __future__ import annotations

import contextlib
import random

import pytest

from protos.parley.v1.model_info_pb2 import Load, ModelInfo
from services.gateway.access import admission, pace
from services.gateway.access.admission import Admission
from services.gateway.settings import AdmissionSettings
from services.rpc.errors import ServiceError
from services.telemetry import metrics

TURN = 5.0  # seconds of a user's turn
SECONDS = 60
SETTLE = 20  # seconds of those who can be served, alone


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Machine:
    """Serves `served` users in real time. `late`: of each answer, whether it was; near misses are none."""

    def __init__(self, served: int, tells: bool, seed: int):
        """`tells`: the services' real-time factor follows the load."""
        self.served, self.tells, self.rng = served, tells, random.Random(seed)
        self.inside = 0
        self.late: list[bool] = []

    async def describe(self, service: str) -> ModelInfo:
        factor = 0.5 * self.inside / self.served if self.tells else 0.0
        return ModelInfo(slots=16, load=Load(real_time_factor=factor))

    def second(self) -> None:
        """The answers of a second: at twice what can be served every tenth runs dry, and every fourth nearly."""
        over = max(0.0, self.inside / self.served - 1)
        for _ in range(self.inside):
            if self.rng.random() < 1 / TURN:
                chance = self.rng.random()
                metrics.FIRST_AUDIO_SECONDS.labels("gateway").observe(0.4)
                metrics.LATE_ANSWERS.inc(chance < 0.01 + 0.24 * over)
                self.late.append(chance < 0.1 * over)


async def run(machine: Machine, clock: Clock, came: int) -> tuple[float, int, list[int]]:
    """→ share of answers in real time once the others have come, most inside, seconds until one is let in afterwards.

    Of those who can be served all but one stay until then.
    """
    made = Admission(AdmissionSettings(), 128, machine.describe)
    again = {number: SETTLE + 1.0 * (number % 5) for number in range(machine.served, came)}
    most = machine.served
    with contextlib.ExitStack() as others:
        with contextlib.ExitStack() as crowd:
            for second in range(SETTLE + SECONDS):
                if second < machine.served:
                    (others if second else crowd).enter_context(made.connection())
                elif second == SETTLE:
                    machine.late.clear()
                for number, at in list(again.items()):
                    if at <= second:
                        again[number] = second + 4.0
                        with contextlib.suppress(ServiceError), contextlib.ExitStack() as trying:
                            trying.enter_context(made.connection())
                            made.admit()
                            crowd.push(trying.pop_all())
                            del again[number]
                machine.inside = made.connections
                most = max(most, machine.inside)
                machine.second()
                await made.note()
                clock.now += 1.0
            share = 1 - sum(machine.late) / len(machine.late)
        for waited in range(0, 60, 4):
            machine.inside = made.connections
            with contextlib.suppress(ServiceError), made.connection():
                made.admit()
                return share, most, waited
            for _ in range(4):
                machine.second()
                await made.note()
                clock.now += 1.0
    return share, most, 60


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("times", [2, 4])
async def test_those_inside_keep_real_time(monkeypatch, times, tells):
    clock, shares, mosts, waits = Clock(), [], [], []
    monkeypatch.setattr(admission, "time", clock)
    monkeypatch.setattr(pace, "time", clock)
    for seed in range(10):
        share, most, waited = await run(Machine(4, tells, seed), clock, 4 * times)
        shares.append(share)
        mosts.append(most)
        waits.append(waited)
    assert sum(shares) / len(shares) > 0.93, "with all of them inside it would be 0.9, and less with four times as many"
    assert sorted(mosts)[len(mosts) // 2] < 4 * times
    assert sorted(waits)[len(waits) // 2] <= 8
