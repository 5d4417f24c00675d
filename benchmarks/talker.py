"""Users of the load benchmark in a process of their own: each talks over the Realtime API, hands-free, in real time.

    python -m benchmarks.talker --url ws://127.0.0.1:8080/v1/realtime?model=parley --clips FOLDER --seconds 60

Prints a line of JSON for each thing that happened: `open`, `closed`, `turn`, `refused`, `turned_away` (refused when it
was inside), `error`. It uses no client library: a process of `openai` takes three times the memory, and this one shows
what the wire carries and no more.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from benchmarks.clip import Clip
from benchmarks.microphone import Microphone
from benchmarks.player import Player

RATE = 24_000  # Hz, in both directions
PAUSE = (0.5, 2.0)  # seconds between an answer's end and the next question
INTERRUPTED_AFTER = (0.3, 0.8)  # seconds of an answer
ANSWER_SECONDS = 15.0  # a question without an answer for this long has none
RETRY_SECONDS = 1.0  # where the server does not say when to come again
MAX_RETRY_SECONDS = 30.0
TRY_AGAIN_LATER = 1013  # close code


@dataclass
class Turn:
    """What came of a sentence; times are of `time.monotonic()`."""

    spoken: float  # its first voiced sample
    asked: float  # its last voiced sample
    before: Turn | None
    player: Player = field(default_factory=Player)
    response: str = ""
    item: str = ""
    noticed: float = 0.0  # when the server said that the user speaks
    interrupted: bool = False  # the next sentence was said while the answer was played
    done: asyncio.Event = field(default_factory=asyncio.Event)
    events: list[str] = field(default_factory=list)  # types of those that came, without audio


class Session:
    """One connection: turns until the time is up."""

    def __init__(self, talker: Talker, connection: ClientConnection):
        self._talker, self._connection = talker, connection
        self._microphone = Microphone(talker.number, RATE, self._append)
        self._turn: Turn | None = None
        self._over: set[str] = set()  # responses that this talker no longer listens to

    async def run(self, ends: float) -> None:
        async with asyncio.TaskGroup() as group:
            working = [group.create_task(self._microphone.run()), group.create_task(self._listen())]
            await asyncio.sleep(self._talker.pause())
            while time.monotonic() < ends:
                interrupted = await self._ask()
                if not interrupted:
                    await asyncio.sleep(self._talker.pause())
            for task in working:
                task.cancel()

    async def _append(self, audio: bytes) -> None:
        data = base64.b64encode(audio).decode()
        await self._connection.send('{"type":"input_audio_buffer.append","audio":"' + data + '"}')

    async def _ask(self) -> bool:
        """Says the next sentence and hears the answer. → whether it is interrupted, now, by the next sentence."""
        clip, interrupts_after = next(self._talker.clips), self._talker.interrupts_after()
        began = self._microphone.say(clip.audio)
        turn = self._turn = Turn(began + clip.voiced[0] / RATE, began + clip.voiced[1] / RATE, self._turn)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(len(clip.audio) / RATE + ANSWER_SECONDS):
                turn.interrupted = await self._hear(turn, interrupts_after)
        turn.before = None if turn.before is None else dataclasses.replace(turn.before, before=None)
        self._over.add(turn.response)
        self._talker.report_turn(turn, self._microphone.late)
        return turn.interrupted

    async def _hear(self, turn: Turn, interrupts_after: float) -> bool:
        """Returns when the answer has been played; True once it has been played as far as it is to be interrupted."""
        while not turn.done.is_set() or time.monotonic() < turn.player.ends:
            if turn.player.played(time.monotonic()) >= interrupts_after:
                return True
            await asyncio.sleep(0.02)
        return False

    async def _listen(self) -> None:
        async for message in self._connection:
            event = json.loads(message)
            if self._turn is not None and not event["type"].endswith(".delta"):
                self._turn.events.append(event["type"])
            match event["type"]:
                case "response.output_audio.delta":
                    self._take_audio(event)
                case "input_audio_buffer.speech_started":
                    await self._stop_playing()
                case "response.done":
                    self._take_end(event["response"])
                case "error":
                    self._talker.report("error", message=event["error"]["message"], code=event["error"]["code"])

    def _take_audio(self, event: dict) -> None:
        turn = self._turn
        if turn is not None and event["response_id"] not in self._over:
            turn.response, turn.item = event["response_id"], event["item_id"]
            turn.player.add(len(base64.b64decode(event["delta"])) / 2 / RATE, time.monotonic())

    def _take_end(self, response: dict) -> None:
        turn = self._turn
        if response["status"] == "failed":
            self._talker.report("error", message=json.dumps(response["status_details"]))
        if turn is None or response["id"] in self._over:
            return
        if response["status"] == "cancelled":  # a pause in the sentence was taken for its end
            turn.player, turn.response = Player(), ""
        else:
            turn.player.finish(time.monotonic())
            turn.done.set()

    async def _stop_playing(self) -> None:
        """The server has noticed that the user speaks: what was heard of the answer before is told, as clients do."""
        turn, before = self._turn, self._turn.before if self._turn else None
        if turn is None or turn.noticed:
            return
        turn.noticed = time.monotonic()
        if before is not None and before.interrupted:
            played = round(1000 * before.player.played(turn.noticed))
            event = {"type": "conversation.item.truncate", "item_id": before.item, "content_index": 0}
            await self._connection.send(json.dumps({**event, "audio_end_ms": played}))


class Talker:
    """A user, who connects again where the connection was refused or lost."""

    def __init__(self, number: int, clips: list[Clip], arguments: argparse.Namespace):
        self.number, self._arguments = number, arguments
        self._rng = random.Random(number)
        self.clips = self._endless(clips)

    def _endless(self, clips: list[Clip]) -> Iterator[Clip]:
        while True:
            yield from self._rng.sample(clips, len(clips))

    def pause(self) -> float:
        """Seconds."""
        return self._rng.uniform(*PAUSE)

    def interrupts_after(self) -> float:
        """Seconds of the coming answer; infinite: it is heard to its end."""
        after = self._rng.uniform(*INTERRUPTED_AFTER)
        return after if self._rng.random() < self._arguments.interrupting else float("inf")

    async def run(self, delay: float = 0.0) -> None:
        """`delay`: seconds until it comes."""
        ends = time.monotonic() + self._arguments.seconds
        await asyncio.sleep(delay)
        while time.monotonic() < ends:
            began = time.monotonic()
            try:
                await self._connect(min(ends, began + self._arguments.stay))
            except InvalidStatus as error:
                wait = error.response.headers.get("Retry-After")
                await self._refused(error.response.status_code, time.monotonic() - began, wait, ends)
            except ConnectionClosedError as error:
                await self._closed(error)
            except OSError as error:
                self.report("error", message=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _connect(self, ends: float) -> None:
        headers = {"Authorization": f"Bearer {self._arguments.key}"}
        options = {"additional_headers": headers, "compression": None, "max_size": None}
        async with connect(self._arguments.url, **options) as connection:
            self.report("open")
            try:
                await Session(self, connection).run(ends)
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
            finally:
                self.report("closed")

    async def _closed(self, error: ConnectionClosedError) -> None:
        """While it was open; it may have been in the middle of a turn."""
        if error.rcvd is not None and error.rcvd.code == TRY_AGAIN_LATER:
            self.report("turned_away", message=error.rcvd.reason)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            self.report("error", message=f"the connection was closed: {error}")
            await asyncio.sleep(RETRY_SECONDS)

    async def _refused(self, code: int, seconds: float, wait: str | None, ends: float) -> None:
        """`seconds`: after which that was known. `wait`: seconds until it may come again, as it was told."""
        self.report("refused", code=code, seconds=seconds, retry_after=wait)
        again = float(wait or RETRY_SECONDS)
        await asyncio.sleep(min(again, MAX_RETRY_SECONDS, max(0.0, ends - time.monotonic())))

    def report_turn(self, turn: Turn, microphone_late: float) -> None:
        player = turn.player
        self.report(
            "turn",
            answered=bool(player.received),
            interrupted=turn.interrupted,
            first_audio=player.first - turn.asked,
            noticed=turn.noticed - turn.spoken if turn.noticed else None,
            interrupting=turn.before is not None and turn.before.interrupted,
            audio_s=player.received,
            generated_s=player.last - player.first,
            underruns=player.underruns,
            gap_s=player.gap,
            microphone_late=microphone_late,
            events=[] if player.received else turn.events,
        )

    def report(self, what: str, **facts: object) -> None:
        print(json.dumps({"what": what, "talker": self.number, "at": time.time(), **facts}), flush=True)


async def talk(arguments: argparse.Namespace) -> None:
    clips = [Clip.load(path) for path in sorted(arguments.clips.glob("*.npz"))]
    async with asyncio.TaskGroup() as group:
        for place, number in enumerate(arguments.talkers):
            delay = place * arguments.arriving / len(arguments.talkers)
            group.create_task(Talker(number, clips, arguments).run(delay))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="of the Realtime API, with the model")
    parser.add_argument("--key", default="none", help="an API key, where the gateway asks for one")
    parser.add_argument("--clips", type=Path, required=True, help="folder with what is said (`Clip.save`)")
    parser.add_argument(
        "--talkers", nargs="+", type=int, default=[0], help="a number for each, from which follows what it does"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each talks")
    parser.add_argument("--arriving", type=float, default=0.0, help="seconds within which they come, one by one")
    parser.add_argument("--stay", type=float, default=float("inf"), help="seconds that a session is kept open")
    parser.add_argument("--interrupting", type=float, default=0.2, help="share of answers that are interrupted")
    asyncio.run(talk(parser.parse_args()))


if __name__ == "__main__":
    main()
