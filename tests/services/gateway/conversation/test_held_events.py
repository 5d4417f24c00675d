"""What is held is told in order at the release, and not before."""

import asyncio

from services.gateway.conversation.held_events import MAX_HELD, HeldEvents
from services.gateway.events import AudioDelta, TextDelta


class Told(list):
    async def emit(self, body) -> None:
        await asyncio.sleep(0)
        self.append(body)


async def test_text_and_the_first_audio_are_held_and_more_audio_waits():
    told = Told()
    events = HeldEvents(told.emit)
    flushing = asyncio.create_task(events.flush())
    bodies = [TextDelta("red"), AudioDelta(b"ab", 24_000, 0), AudioDelta(b"cd", 24_000, 1)]
    for body in bodies[:2]:
        await events.put(body)
    waiting = asyncio.create_task(events.put(bodies[2]))
    await asyncio.sleep(0.01)
    assert told == [] and not waiting.done() and not flushing.done()
    events.release()
    await asyncio.gather(waiting, flushing)
    await events.put(TextDelta("blue"))
    assert told == [*bodies, TextDelta("blue")]


async def test_only_so_much_is_held():
    events = HeldEvents(Told().emit)
    for number in range(MAX_HELD):
        await events.put(TextDelta(str(number)))
    waiting = asyncio.create_task(events.put(TextDelta("more")))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    events.release()
    await waiting
