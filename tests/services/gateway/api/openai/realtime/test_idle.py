"""When a user who says nothing is spoken to."""

from __future__ import annotations

import asyncio

from services.gateway import events
from services.gateway.api.openai.realtime.idle import IdleTimer

MINUTE = events.AudioDelta(b"\0" * 2 * 24_000 * 60, 24_000, 0)


async def is_spoken_to(*bodies: events.Body) -> bool:
    """Within half a second after these events, where the session wants it at once."""
    idle = asyncio.Event()

    async def on_idle() -> None:
        idle.set()

    timer = IdleTimer(on_idle)
    for body in bodies:
        timer.note(body, idle_seconds=0.01)
    try:
        await asyncio.wait_for(idle.wait(), 0.5)
    except TimeoutError:
        return False
    finally:
        timer.stop()
    return True


async def test_an_answer_is_first_played_to_its_end():
    assert await is_spoken_to(events.TurnDone("stop"))
    assert not await is_spoken_to(MINUTE, events.TurnDone("stop"))


async def test_what_was_cancelled_is_not_played():
    assert await is_spoken_to(MINUTE, events.TurnDone("cancelled"))
    assert await is_spoken_to(MINUTE, events.TurnDone("cancelled"), events.TurnDone("stop"))


async def test_whoever_does_something_is_not_spoken_to():
    assert not await is_spoken_to(events.TurnDone("stop"), events.SpeechStarted(0))
