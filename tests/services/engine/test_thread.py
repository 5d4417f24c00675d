"""The guarantees of the thread for any engine, here one that counts."""

import asyncio
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2

from services.engine import thread as engine_thread
from services.engine.settings import ServiceSettings
from services.engine.thread import MAX_FAILURES, MAX_PENDING_COMMANDS, EngineThread, Request
from services.rpc.errors import ServiceError, status_of
from services.rpc.health import Health

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Counter(EngineThread):
    """Answers each `add` with the sum so far, in the next step. Some contents make it fail."""

    service = "counter"

    def __init__(self, **settings):
        super().__init__(ServiceSettings(**{"stop_seconds": 0} | settings))
        self.sums: dict[Request, int] = {}
        self.ready: dict[Request, int] = {}
        self.go_on = threading.Event()
        self.go_on.set()

    def open(self) -> Request[int]:
        request = Request(self)
        self.admit(request, 3, "counts")
        return request

    def apply(self, kind, request, content):
        if content == "wait":
            self.go_on.wait(10)
        elif content == "bad":
            raise ValueError("this is not a number")
        elif content == "break":
            raise KeyError("/a/secret/path")
        else:
            self.sums[request] = self.sums.get(request, 0) + content
            self.ready[request] = self.sums[request]

    def free(self, request):
        self.sums.pop(request, None)
        if self.ready.pop(request, 0) == -666:
            raise RuntimeError("the sums do not match")

    def step(self):
        if not self.ready:
            return False
        if min(self.ready.values()) < 0:
            raise RuntimeError("out of memory")
        for request, total in self.ready.items():
            self.emit(request, total)
        self.ready = {}
        return True

    def abandon_step(self):
        requests = list(self.ready)
        for request in requests:
            self.free(request)
        return requests


@pytest.fixture
def make_engine():
    engines = []

    def make(**settings):
        engine = Counter(**settings)
        engine.start()
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.go_on.set()
        engine.stop()


async def count(request: Request[int], *numbers: object) -> int:
    for number in numbers:
        request.post("add", number)
        total = await asyncio.wait_for(request.next(), 10)
    return total


async def failure(request: Request[int], *numbers: object) -> Exception:
    with pytest.raises(Exception) as caught:
        await count(request, *numbers)
    return caught.value


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


async def test_each_request_gets_its_own_events(make_engine):
    engine = make_engine()
    one, two = engine.open(), engine.open()
    assert await asyncio.gather(count(one, 1, 2, 3), count(two, 10, 20)) == [6, 30]


async def test_nothing_in_time_is_no_error_of_the_request(make_engine):
    request = make_engine().open()
    assert await request.next_within(0.01) is None
    request.deliver(TimeoutError("the request's own"))
    with pytest.raises(TimeoutError, match="own"):
        await request.next_within(10)
    request.deliver(3)
    assert await request.next_within(None) == 3


async def test_events_are_taken_before_the_next_step(make_engine, monkeypatch):
    monkeypatch.setattr(engine_thread, "SEND_SECONDS", 10)
    engine, taken, at_steps = make_engine(), [], []
    step = engine.step
    monkeypatch.setattr(engine, "step", lambda: at_steps.append(len(taken)) or step())
    request = engine.open()
    async with asyncio.timeout(10):
        for number in (1, 2, 3):
            request.post("add", 1)
            taken.append(await request.next())
            while len(at_steps) < 2 * number:  # the step after, which has nothing to do
                await asyncio.sleep(0.002)
    assert at_steps == [0, 1, 1, 2, 2, 3]


async def test_a_loop_that_is_held_up_does_not_hold_up_the_engine(make_engine):
    engine = make_engine()
    request = engine.open()
    for _ in range(3):
        request.post("add", 1)
        time.sleep(0.05)  # this loop
    assert engine.sums[request] == 3
    assert [await request.next() for _ in range(3)] == [1, 2, 3]


async def test_a_full_engine_refuses_until_a_request_is_closed(make_engine):
    engine = make_engine()
    requests = [engine.open() for _ in range(3)]
    with pytest.raises(ServiceError, match="3 counts in use") as caught:
        engine.open()
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED and caught.value.retry_after > 0
    requests[0].close()
    assert await count(engine.open(), 4) == 4


@pytest.mark.parametrize(
    ("order", "code"), [("bad", grpc.StatusCode.INVALID_ARGUMENT), ("break", grpc.StatusCode.INTERNAL)]
)
async def test_an_error_in_a_command_fails_its_request_alone(make_engine, order, code):
    engine = make_engine()
    other, broken = engine.open(), engine.open()
    assert await count(other, 1) == 1
    status = status_of(await failure(broken, order))
    assert status.code is code and "secret" not in status.message
    assert broken not in engine.live.values()
    assert await count(other, 2) == 3
    assert engine.alive


async def test_an_error_in_a_step_fails_only_its_requests(make_engine):
    engine = make_engine()
    other, broken = engine.open(), engine.open()
    await count(other, 1)
    status = status_of(await failure(broken, -1))
    assert status.code is grpc.StatusCode.INTERNAL and "memory" not in status.message
    assert await count(other, 2) == 3
    assert engine.alive


async def test_failed_steps_in_a_row_end_the_engine(make_engine):
    engine = make_engine()
    waiting = engine.open()
    failing = asyncio.create_task(waiting.next())
    for _ in range(MAX_FAILURES):
        assert engine.alive
        request = engine.open()
        await failure(request, -1)
        request.close()
    with pytest.raises(RuntimeError, match="the engine died"):
        await asyncio.wait_for(failing, 10)
    await until(lambda: not engine.alive)


async def test_a_dead_engine_fails_all_requests_and_its_health(make_engine, monkeypatch):
    engine = make_engine()
    logged = []
    monkeypatch.setattr(engine_thread.log, "critical", lambda event, **fields: logged.append(fields["exc_info"]))
    health = Health(servicer=engine)
    health.ready = True
    assert (await health.Check(None, None)).status == SERVING
    waiting, breaks = engine.open(), engine.open()
    engine.go_on.clear()
    waiting.post("add", "wait")  # the rest is in the queue when the engine dies of it
    breaks.post("add", -666)
    breaks.close()
    late = engine.open()
    late.post("add", 1)
    engine.go_on.set()
    for request in (waiting, late):
        with pytest.raises(RuntimeError, match="the engine died") as caught:
            await asyncio.wait_for(request.next(), 10)
        assert status_of(caught.value).code is grpc.StatusCode.INTERNAL
    assert "do not match" in str(logged[0])
    await until(lambda: not engine.alive)
    assert (await health.Check(None, None)).status == NOT_SERVING
    with pytest.raises(ServiceError, match="has failed") as refused:
        engine.open()
    assert refused.value.code is grpc.StatusCode.UNAVAILABLE and refused.value.retry_after > 0


async def test_a_request_whose_loop_has_closed_is_freed(make_engine):
    engine = make_engine()
    engine.go_on.clear()

    async def ask_and_go() -> Request:
        request = engine.open()
        request.post("add", "wait")
        request.post("add", 7)
        return request

    gone = await asyncio.to_thread(asyncio.run, ask_and_go())
    assert gone.loop.is_closed()
    engine.go_on.set()
    assert await count(engine.open(), 1, 2) == 3
    await until(lambda: gone not in engine.live.values() and gone not in engine.sums)
    assert engine.alive


async def test_a_fast_sender_waits(make_engine):
    engine = make_engine()
    engine.go_on.clear()
    request = engine.open()
    request.post("add", "wait")
    for _ in range(MAX_PENDING_COMMANDS):
        request.post("add", 1)
    waits = asyncio.create_task(request.backpressure())
    await asyncio.sleep(0.05)
    assert not waits.done()
    engine.go_on.set()
    await asyncio.wait_for(waits, 10)
    assert engine.alive


async def test_an_error_of_the_feed_fails_the_request_and_the_feed_ends_with_it(make_engine):
    engine = make_engine()
    request, ended = engine.open(), asyncio.Event()

    async def feed(error: Exception | None) -> None:
        try:
            if error is not None:
                raise error
            await asyncio.sleep(100)
        finally:
            ended.set()

    with pytest.raises(ValueError, match="no good"):
        async with request.fed_by(feed, ValueError("no good")):
            await request.next()
    ended.clear()
    other = engine.open()
    async with other.fed_by(feed, None):
        assert await count(other, 5) == 5
    assert ended.is_set() and not engine.live


async def test_stopping_waits_for_live_requests_and_refuses_new_ones(make_engine):
    engine = make_engine(stop_seconds=10)
    running = engine.open()
    await count(running, 1)
    stopping = asyncio.create_task(asyncio.to_thread(engine.stop))
    await until(lambda: not engine.accepting)
    with pytest.raises(ServiceError, match="is stopping"):
        engine.open()
    assert await count(running, 2) == 3
    running.close()
    await asyncio.wait_for(stopping, 5)
    assert not engine.alive


async def test_requests_that_still_wait_fail_when_the_engine_stops(make_engine):
    engine = make_engine()
    waiting = engine.open()
    await asyncio.to_thread(engine.stop)
    with pytest.raises(ServiceError, match="counter is stopping") as caught:
        await asyncio.wait_for(waiting.next(), 10)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
