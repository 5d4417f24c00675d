"""What clients make the gateway hold is bounded, for each and for all."""

from __future__ import annotations

import grpc
import pytest

from services.gateway.media import memory_budget
from services.gateway.media.memory_budget import MIB, MemoryBudget
from services.gateway.settings import ServerSettings
from services.rpc.errors import ServiceError


@pytest.fixture
def budget() -> MemoryBudget:
    return MemoryBudget(ServerSettings(max_held_mb=100, max_held_mb_each=40))


def refused(holder, size: int) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        holder.check(size)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    return caught.value


def test_one_may_hold_so_much(budget):
    held = [0]
    holder = budget.holder(lambda: held[0])
    holder.check(40 * MIB)
    held[0] = 30 * MIB
    holder.check(10 * MIB)
    error = refused(holder, 11 * MIB)
    assert error.retry_after == 0 and "41 MiB" in error.message and "it may hold 40" in error.message


def test_all_may_hold_so_much_also_within_a_moment(budget, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(memory_budget.time, "monotonic", lambda: now[0])
    held = [0, 0, 0]
    first, second, third = (budget.holder(lambda number=number: held[number]) for number in range(3))
    first.check(40 * MIB)
    second.check(40 * MIB)
    assert refused(third, 21 * MIB).retry_after > 0
    third.check(20 * MIB)
    now[0] += 1
    held[:] = [40 * MIB, 40 * MIB, 0]
    third.check(20 * MIB)
    now[0] += 1
    refused(third, 30 * MIB)
    held[0] = 0  # the first has let go
    now[0] += 1
    third.check(30 * MIB)


def test_what_is_closed_holds_nothing(budget, monkeypatch):
    monkeypatch.setattr(memory_budget, "MEASURE_SECONDS", -1)
    gone = [budget.holder(lambda: 40 * MIB) for _ in range(3)]
    last = budget.holder(lambda: 0)
    refused(last, 1)
    for holder in gone:
        holder.close()
    last.check(40 * MIB)
