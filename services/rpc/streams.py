"""The rules of a stream: open first, numbered without gaps, an explicit end, a deadline.

async for kind, message in read(requests, last="end", idle=settings.idle_seconds):
    …                                    # kind: "open", "audio", "end"; message: that field
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import grpc

from services.rpc.errors import ServiceError
from services.telemetry import logs, tracing
from services.telemetry.session_hash import session_hash

HEARTBEAT_SECONDS = 1.0  # a service that has had nothing to say for this long sends a message without a field
LONGEST_SECONDS = 86_400.0  # of any call; no clock can wait for the largest number that a message holds

_draining = asyncio.Semaphore(8)  # streams at once: each may hold a message of the largest size


async def read(
    requests: AsyncIterator, *, last: str, idle: float = 30.0, stop_at_last: bool = True
) -> AsyncIterator[tuple[str, object]]:
    """Yields (kind, field) for each message of a stream, up to and with the message `last`.

    `idle`: seconds a client may stay silent. Without `stop_at_last`, messages may follow the last one and the caller
    leaves the loop when it has all. Checks what every stream of ours promises and raises `ServiceError`:
    INVALID_ARGUMENT for a first message that is not `open`, a second `open`, an empty message or a gap in the
    sequence; DEADLINE_EXCEEDED for a client that stays silent; CANCELLED where the stream closes without `last`.
    Also binds the log context and the span of the call to the session and turn of the open message.
    """
    requests = requests.__aiter__()
    expected = 0
    came_last = False
    while True:
        try:
            async with asyncio.timeout(idle):
                request = await anext(requests)
        except StopAsyncIteration:
            missing = "messages that it was asked for" if came_last else f"`{last}`"
            raise ServiceError(grpc.StatusCode.CANCELLED, f"the stream closed without {missing}") from None
        except TimeoutError:
            due = "the messages that are asked for" if came_last else f"`{last}` or go on"
            message = f"nothing arrived for {idle:g} s; send {due}"
            raise ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, message) from None
        kind = request.WhichOneof("message")
        if request.sequence != expected:
            raise ValueError(
                f"message {request.sequence} came where {expected} was due; a message was lost or repeated"
            )
        if kind is None:
            raise ValueError(f"message {expected} is empty")
        if (kind == "open") != (expected == 0):
            raise ValueError(f"message {expected} is `{kind}`; a stream begins with one `open` and has no second")
        expected += 1
        field = getattr(request, kind)
        if kind == "open":
            logs.bind(field.session_id, field.turn_id)
            tracing.annotate(session=session_hash(field.session_id), turn_id=field.turn_id)
        yield kind, field
        came_last = came_last or kind == last
        if came_last and stop_at_last:
            return


def seconds_left(deadline_ms: int) -> float | None:
    """Seconds until a deadline in Unix milliseconds, at most `LONGEST_SECONDS`; None for 0, which is no deadline.

    Raises DEADLINE_EXCEEDED where it has passed.
    """
    if deadline_ms == 0:
        return None
    left = deadline_ms / 1000 - time.time()
    if left <= 0:
        raise ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, f"the deadline passed {-left:.3f} s ago")
    return min(left, LONGEST_SECONDS)


def deadline_in(seconds: float) -> int:
    """A deadline `seconds` from now, as the wire has it: Unix milliseconds."""
    return round((time.time() + seconds) * 1000)


def within(deadline_ms: int) -> asyncio.Timeout:
    """`async with within(request.deadline_ms):` raises `TimeoutError`, so DEADLINE_EXCEEDED, once it has passed."""
    return asyncio.timeout(seconds_left(deadline_ms))


async def drain(requests: AsyncIterator, seconds: float = 0.1) -> None:
    """Takes what a client still sends to a stream that is about to fail. Does nothing where many streams do it.

    A client whose message meets a closed stream sees "internal error" in place of the real status.
    """
    if _draining.locked():
        return
    with contextlib.suppress(Exception):
        async with _draining, asyncio.timeout(seconds):
            async for _ in requests:
                pass
