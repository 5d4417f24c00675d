import asyncio
import time

from prometheus_client import REGISTRY

from services.telemetry import event_loop


def total(name: str) -> float:
    return REGISTRY.get_sample_value(f"parley_event_loop_lag_seconds_{name}", {"service": "a_loop"}) or 0.0


async def test_a_blocked_loop_is_measured(monkeypatch):
    monkeypatch.setattr(event_loop, "PERIOD", 0.01)
    watching = event_loop.watch("a_loop")
    while total("count") < 2:
        await asyncio.sleep(0.01)
    before = total("sum")
    await asyncio.sleep(0)  # the watcher sleeps now
    time.sleep(0.3)
    count = total("count")
    while total("count") == count:
        await asyncio.sleep(0.01)
    assert total("sum") - before > 0.2
    watching.cancel()
