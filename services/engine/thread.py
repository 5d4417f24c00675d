"""The thread an engine runs in, the same for every service: commands in, steps, events out.

Notable points:
- Only the thread touches the engine's state. Callers run on event loops; their commands are applied between two
  steps, in the order in which they came, and events go back with one `call_soon_threadsafe` a loop.
- Events come before the next step: loop and thread share the interpreter's lock, and a thread that computes on at once
  holds every event up by a millisecond or two. So it waits until the loop has sent them, for a bounded time.
- The thread does not poll: it sleeps until there is a command, work, or the engine's next deadline.
- Queues are bounded: requests by `admit`, the commands of each request by `Request.backpressure`.
- An error in a command fails its request. An error in a step fails the requests of that step; after `MAX_FAILURES`
  such steps in a row, or any error elsewhere, the engine is dead: all waiting requests fail, and `alive` stays False.
  A `ServiceError` in a step says that the server which computes it is away: it fails the requests of that step alone.
- A request whose event loop has closed is freed like one that its caller closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

import grpc

from services.engine.load import Load, RecentValues
from services.engine.settings import AUTO, ServiceSettings
from services.rpc.errors import ServiceError
from services.telemetry import logs, metrics, tracing
from services.telemetry.steps import Steps

MAX_FAILURES = 3  # failed steps in a row after which the engine is dead
MAX_LOGGED = 16  # requests of a failed step that the log names
MAX_PENDING_COMMANDS = 256  # of one request, waiting for the thread
SEND_SECONDS = 0.0005  # at most, that the thread waits for a loop to send the events of a step
BACKPRESSURE_SECONDS = 0.005  # between two checks whether a request may post again

log = logs.get_logger(__name__)

Event = TypeVar("Event")


class Request(Generic[Event]):
    """One open request. It is created and used on the caller's event loop, except where noted."""

    def __init__(self, engine: EngineThread):
        self.loop = asyncio.get_running_loop()
        self._engine = engine
        self._events: asyncio.Queue[Event | Exception] = asyncio.Queue()  # bounded by the answer
        self._closed = False
        self.steps = Steps()  # marked by the thread
        self._span = tracing.current()  # of the call
        self.exemplar = tracing.exemplar(self._span)  # for what the thread observes of it
        self.log_ids = logs.ids()  # for what the thread logs of it
        self.posted = 0  # commands, counted on the loop
        self.applied = 0  # commands, counted by the thread

    @property
    def key(self) -> object:
        """The engine runs one request of a key at a time."""
        return self

    def post(self, kind: str, content: object = None) -> None:
        """Sends the engine a command, which it applies between two steps."""
        self.posted += 1
        self._engine.post(kind, self, content)

    async def backpressure(self) -> None:
        """Waits while too many commands of this request are pending."""
        while self.posted - self.applied >= MAX_PENDING_COMMANDS and not self._closed:
            await asyncio.sleep(BACKPRESSURE_SECONDS)

    async def next(self) -> Event:
        """The next event. Raises the error that the request failed with."""
        event = await self._events.get()
        if isinstance(event, Exception):
            raise event
        return event

    async def next_within(self, seconds: float | None) -> Event | None:
        """As `next`; None where nothing comes in time."""
        try:
            async with asyncio.timeout(seconds) as limit:
                return await self.next()
        except TimeoutError:
            if not limit.expired():  # the request failed with it
                raise
            return None

    def deliver(self, event: Event | Exception) -> None:
        """Makes `next` return the event, or raise it where it is an error."""
        self._events.put_nowait(event)

    def close(self) -> None:
        """Ends the request in any state: after the current step nothing more is computed for it."""
        if not self._closed:
            self._closed = True
            self.steps.record(self._span)
            self._engine.release(self)
            self.post("close")

    @contextlib.asynccontextmanager
    async def fed_by(self, feed: Callable[..., Awaitable[None]], *arguments: object):
        """Runs `feed` beside the block and closes the request after it. An error of `feed` fails the request."""

        async def feeding() -> None:
            try:
                await feed(*arguments)
            except Exception as error:
                self.deliver(error)

        task = asyncio.create_task(feeding())
        try:
            yield
        finally:
            self.close()
            task.cancel()
            await asyncio.wait([task])


class EngineThread:
    """`start`, then any number of requests from any event loop, then `stop`. An engine implements the methods below.

    `service`: its name in metrics and logs.
    """

    service: str

    # Implemented by an engine; all of it runs in the thread, except where noted.

    def apply(self, kind: str, request: Request, content: object) -> None:
        """Runs a command. Commands of a request that has ended have no effect."""
        raise NotImplementedError

    def step(self) -> bool:
        """Computes one batch. Returns whether there was work; if not, the thread sleeps."""
        raise NotImplementedError

    def abandon_step(self) -> Iterable[Request]:
        """Called after `step` raised: frees the requests that were in it and returns them."""
        raise NotImplementedError

    def free(self, request: Request) -> None:
        """Frees all memory and slots of a request, if it has any."""
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        """Seconds until a step may be due without a new command; None: never."""
        return None

    def current_load(self) -> Load:
        """Called from any thread: it only reads sizes."""
        raise NotImplementedError

    def num_busy(self) -> int:
        """Called from event loops, under the lock: the live requests that count where there may be only so many."""
        return len(self.live)

    def reachable(self) -> bool:
        """Called from any thread: whether what computes the steps can be reached, where that is not this process."""
        return True

    def shut_down(self) -> None:
        """Called after the thread has ended, not on an event loop."""

    # Called from event loops.

    def __init__(self, settings: ServiceSettings):
        self.settings = settings
        self.factors = RecentValues()  # seconds for each second of speech, observed by the engine's steps
        self.waits = RecentValues()  # seconds, of `took`
        self.live: dict[object, Request] = {}  # by key: admitted and not released
        self._commands: deque[tuple[str, Request, object]] = deque()
        self._outgoing: dict[asyncio.AbstractEventLoop, list[tuple[Request, object]]] = {}  # of the thread alone
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)  # notified when the last live request is released
        self._notified = False
        self.accepting = False
        self._stopping = False
        self._dead = False
        self._failures = 0  # of steps, in a row
        self._thread = threading.Thread(target=self._run, name=f"{self.service}-engine", daemon=True)

    def start(self) -> None:
        self.accepting = True
        self._thread.start()

    def stop(self) -> None:
        """Refuses new requests, waits up to `stop_seconds` for live ones, then ends the thread.

        Blocks, so it must not be called on an event loop.
        """
        with self._lock:
            self.accepting = False
            self._notify()
            self._idle.wait_for(lambda: not self.live or self._dead, self.settings.stop_seconds)
            self._stopping = True
            self._notify()
        if self._thread.ident is not None:
            self._thread.join()
        self.shut_down()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._dead and self.reachable()

    def admit(self, request: Request, limit: int, what: str, retry_after: float = 1.0) -> Request | None:
        """Counts a request as live. Returns the live request of the same key that it replaces, if there is one.

        Raises `ServiceError`: RESOURCE_EXHAUSTED when `limit` are busy, UNAVAILABLE when the engine stops or is dead.
        """
        with self._lock:
            if not self.accepting:
                raise self._unavailable()
            old = self.live.get(request.key)
            if old is None and self.num_busy() >= limit:
                metrics.REFUSED.labels(self.service, what).inc()
                raise ServiceError.at_capacity(what, limit, retry_after)
            self.live[request.key] = request
        return old

    def release(self, request: Request) -> None:
        """The request no longer counts as live. May be called from any thread."""
        with self._lock:
            if self.live.get(request.key) is request:
                del self.live[request.key]
                if not self.live:
                    self._idle.notify_all()

    def post(self, kind: str, request: Request, content: object = None) -> None:
        """Queues a command. Callers use `Request.post`, which also counts it."""
        with self._lock:
            self._commands.append((kind, request, content))
            self._notify()

    def wake(self) -> None:
        """Runs a step soon, because something that it depends on has changed."""
        with self._lock:
            self._notify()

    def _notify(self) -> None:
        self._notified = True
        self._wake.notify()

    # Called in the thread.

    def emit(self, request: Request, event: object) -> None:
        """Queues an event for the caller; the next `flush` sends it, at the latest after the step."""
        self._outgoing.setdefault(request.loop, []).append((request, event))

    def emit_last(self, request: Request, event: object) -> None:
        """Queues the last event of a request, which no longer counts as live."""
        self.release(request)
        self.emit(request, event)

    def took(self, request: Request, waited: float) -> None:
        """A step takes up the work of a request, which has waited for it so many seconds."""
        self.waits.observe(waited)
        metrics.QUEUE_SECONDS.labels(self.service).observe(waited, request.exemplar)

    def flush(self) -> None:
        """Sends queued events to the event loops of their callers, one call a loop, and lets the loops send them on."""
        outgoing, self._outgoing = self._outgoing, {}
        for loop, events in outgoing.items():
            sent = threading.Event()
            try:
                loop.call_soon_threadsafe(_deliver, events, sent)
                sent.wait(SEND_SECONDS)
            except RuntimeError:  # the loop is closed, and its callers with it
                for request in {request for request, _ in events}:
                    self.release(request)
                    self.post("lost", request)

    def _run(self) -> None:
        import torch  # not needed to import this module

        try:
            if self.settings.threads != AUTO:  # an engine without a service keeps torch's own number
                torch.set_num_threads(self.settings.threads)
            with torch.inference_mode():
                self._serve()
            last: Exception = self._unavailable()
        except BaseException as error:  # the engine's state may be inconsistent
            self._dead = True
            log.critical("the engine died", service=self.service, exc_info=error)
            last = _failed("the engine died", error)
        self._fail_all(last)

    def _serve(self) -> None:
        worked = True
        while True:
            with self._lock:
                if not worked and not self._notified:
                    self._wake.wait(self.next_deadline())
                self._notified = False
                if self._stopping:
                    return
                count = len(self._commands)  # later ones wait for the next round
            for _ in range(count):
                self._handle(*self._commands.popleft())
            if self._outgoing:
                self.flush()
            worked = self._try_step()
            self.flush()

    def _handle(self, kind: str, request: Request, content: object) -> None:
        request.applied += 1
        if kind in ("close", "lost"):
            self.free(request)
            if kind == "close":
                self.emit(request, ServiceError(grpc.StatusCode.CANCELLED, "the request was closed"))
            return
        try:
            self.apply(kind, request, content)
        except Exception as error:
            self.free(request)
            self.emit_last(request, error)

    def _try_step(self) -> bool:
        try:
            worked = self.step()
        except ServiceError as error:  # what computes the step is away; the engine itself is sound
            for request in list(self.abandon_step()):
                self.emit_last(request, _copied(error))
            return True
        except Exception as error:
            self._failures += 1
            requests = list(self.abandon_step())
            ids = [request.log_ids for request in requests[:MAX_LOGGED]]
            log.error("a step failed", requests=len(requests), of=ids, failures=self._failures, exc_info=error)
            for request in requests:
                self.emit_last(request, _failed("the engine's step failed", error))
            if self._failures >= MAX_FAILURES:
                raise
            return True
        if worked:
            self._failures = 0
        return worked

    def _fail_all(self, error: Exception) -> None:
        """Sends the error to every request that may be waiting for an event."""
        with self._lock:
            self.accepting = False
            waiting = {*self.live.values(), *(request for _, request, _ in self._commands)}
            self._idle.notify_all()
        for request in waiting:
            self.emit(request, _copied(error))
        self.flush()

    def _unavailable(self) -> ServiceError:
        what = "has failed" if self._dead else "is stopping"
        message = f"the {self.service.replace('_', ' ')} {what}; try again"
        return ServiceError(grpc.StatusCode.UNAVAILABLE, message, retry_after=1.0)


def _failed(what: str, cause: BaseException) -> RuntimeError:
    """An error that becomes INTERNAL for the caller and carries the cause for the log."""
    error = RuntimeError(what)
    error.__cause__ = cause
    return error


def _copied(error: Exception) -> Exception:
    """A copy for another caller: one error raised in two places at once would collect both tracebacks."""
    if isinstance(error, ServiceError):
        return ServiceError(error.code, error.message, error.retry_after)
    return _failed(str(error), error.__cause__)


def _deliver(events: list[tuple[Request, object]], sent: threading.Event) -> None:
    for request, event in events:
        request.deliver(event)
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, sent.set)  # callers wake in the loop's next round, and send within it
