"""Users of the load benchmark in a process of their own: each talks over the Realtime API, hands-free, in real time.

    python -m benchmarks.talker --url ws://127.0.0.1:8080/v1/realtime?model=parley --clips FOLDER --seconds 60

Prints a line of JSON for each thing that happened: `turn`, `refused`, `error`. It uses no client library: a process of
`openai` takes three times the memory, and this one shows what the wire carries and no more.
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

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from benchmarks.clip import Clip

RATE = 24_000  # Hz, in both directions
CHUNK = 960  # samples that are sent at once: 40 ms
BUFFER_SECONDS = 0.1  # that are there before the player starts
PAUSE = (0.5, 2.0)  # seconds between an answer's end and the next question
INTERRUPTED_AFTER = (0.3, 0.8)  # seconds of an answer
ANSWER_SECONDS = 15.0  # a question without an answer for this long has none
RETRY_SECONDS = 1.0  # where the server does not say when to come again
MAX_RETRY_SECONDS = 30.0
TRY_AGAIN_LATER = 1013  # close code
NOISE_LEVEL = 20  # of 32767, while nothing is said


@dataclass
class Player:
    """Plays what comes, once `BUFFER_SECONDS` are there; when it has nothing left it waits for as much again."""

    received: float = 0.0  # seconds
    underruns: int = 0
    gap: float = 0.0  # seconds of silence within the answer
    first: float = 0.0  # when audio came, `time.monotonic()`
    last: float = 0.0
    _began: float = 0.0  # when it would have begun to play, had there been no gap; 0: it waits
    _held: float = 0.0  # received, and not played when it began to wait
    _dry: float = 0.0  # since when there is nothing left

    def add(self, seconds: float, now: float) -> None:
        self.first = self.first or now
        self.last = now
        if self._began and now > self._began + self.received:
            self.underruns += 1
            self._dry, self._began, self._held = self._began + self.received, 0.0, 0.0
        self.received += seconds
        if not self._began:
            self._held += seconds
            if self._held >= BUFFER_SECONDS:
                self._start(now)

    def finish(self, now: float) -> None:
        """Nothing more will come: what there is is played."""
        if self.received and not self._began:
            self._start(now)

    def _start(self, now: float) -> None:
        if self._dry:
            self.gap, self._dry = self.gap + now - self._dry, 0.0
        self._began = now - (self.received - self._held)

    @property
    def ends(self) -> float:
        """When what there is will have been played."""
        return self._began + self.received if self._began else 0.0

    def played(self, now: float) -> float:
        return min(max(now - self._began, 0.0), self.received) if self._began else 0.0


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


class Microphone:
    """Sends in real time: a faint noise, and what is said."""

    def __init__(self, seed: int):
        self._noise = np.random.default_rng(seed).integers(-NOISE_LEVEL, NOISE_LEVEL + 1, RATE).astype("<i2")
        self._speech = np.zeros(0, "<i2")
        self._began = time.monotonic()
        self._sent = 0  # samples
        self.late = 0.0  # seconds, the most that a chunk was sent too late

    def say(self, audio: np.ndarray) -> float:
        """→ when its first sample is spoken. What was being said ends."""
        self._speech = audio
        return self._began + self._sent / RATE

    async def run(self, connection: ClientConnection) -> None:
        self._began, self._sent = time.monotonic(), 0
        while True:
            due = self._began + (self._sent + CHUNK) / RATE  # the chunk is there when its last sample is
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.late = max(self.late, time.monotonic() - due)
            audio = base64.b64encode(self._chunk().tobytes()).decode()
            await connection.send('{"type":"input_audio_buffer.append","audio":"' + audio + '"}')

    def _chunk(self) -> np.ndarray:
        at = self._sent % (RATE - CHUNK)
        chunk, spoken = self._noise[at : at + CHUNK].copy(), self._speech[:CHUNK]
        chunk[: len(spoken)] = spoken
        self._speech, self._sent = self._speech[CHUNK:], self._sent + CHUNK
        return chunk


class Session:
    """One connection: turns until the time is up."""

    def __init__(self, talker: Talker, connection: ClientConnection):
        self._talker, self._connection = talker, connection
        self._microphone = Microphone(talker.number)
        self._turn: Turn | None = None
        self._over: set[str] = set()  # responses that this talker no longer listens to

    async def run(self, ends: float) -> None:
        async with asyncio.TaskGroup() as group:
            working = [group.create_task(self._microphone.run(self._connection)), group.create_task(self._listen())]
            await asyncio.sleep(self._talker.pause())
            while time.monotonic() < ends:
                interrupted = await self._ask()
                if not interrupted:
                    await asyncio.sleep(self._talker.pause())
            for task in working:
                task.cancel()

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

    async def run(self) -> None:
        ends = time.monotonic() + self._arguments.seconds
        while time.monotonic() < ends:
            try:
                await self._connect(ends)
            except InvalidStatus as error:
                wait = float(error.response.headers.get("Retry-After", RETRY_SECONDS))
                await self._refused(error.response.status_code, wait, ends)
            except ConnectionClosedError as error:
                await self._closed(error, ends)
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

    async def _closed(self, error: ConnectionClosedError, ends: float) -> None:
        if error.rcvd is not None and error.rcvd.code == TRY_AGAIN_LATER:
            await self._refused(TRY_AGAIN_LATER, RETRY_SECONDS, ends)
        else:
            self.report("error", message=f"the connection was closed: {error}")
            await asyncio.sleep(RETRY_SECONDS)

    async def _refused(self, code: int, seconds: float, ends: float) -> None:
        self.report("refused", code=code, retry_after=seconds)
        await asyncio.sleep(min(seconds, MAX_RETRY_SECONDS, max(0.0, ends - time.monotonic())))

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
        )

    def report(self, what: str, **facts: object) -> None:
        print(json.dumps({"what": what, "talker": self.number, "at": time.time(), **facts}), flush=True)


async def talk(arguments: argparse.Namespace) -> None:
    clips = [Clip.load(path) for path in sorted(arguments.clips.glob("*.npz"))]
    async with asyncio.TaskGroup() as group:
        for number in arguments.talkers:
            group.create_task(Talker(number, clips, arguments).run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="of the Realtime API, with the model")
    parser.add_argument("--key", default="none", help="an API key, where the gateway asks for one")
    parser.add_argument("--clips", type=Path, required=True, help="folder with what is said (`Clip.save`)")
    parser.add_argument(
        "--talkers", nargs="+", type=int, default=[0], help="a number for each, from which follows what it does"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each talks")
    parser.add_argument("--interrupting", type=float, default=0.2, help="share of answers that are interrupted")
    asyncio.run(talk(parser.parse_args()))


if __name__ == "__main__":
    main()
