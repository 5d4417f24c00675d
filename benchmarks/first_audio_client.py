"""The users of the first-audio benchmark, in a process of their own: they talk to a gateway over gRPC, in real time.

    python -m benchmarks.first_audio_client --address 127.0.0.1:50051 --dialogues FOLDER --sessions 4 --turns 6

Each asks the questions of one dialogue after another, each dialogue in a session of its own: the answer is heard to its
end, and the next question follows after 0.5 to 2 s. With `--rate R` they do not wait for each other: R questions a
second come by chance (Poisson) for `--seconds`; each goes on with a dialogue in which nothing is said at the moment, or
begins a new one.

Prints a line of JSON for each thing that happened: `question`, `error`, and at the end `client`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle
from pathlib import Path

import grpc

from benchmarks.clip import Clip, Dialogue
from benchmarks.first_audio_talk import HANDS_FREE, TURNS, Asked, Talk
from cli.client import Client

PAUSE = (0.5, 2.0)  # seconds between an answer's end and the next question


class Reports:
    """Lines of JSON. `write` is given each."""

    def __init__(self, write: Callable[[dict[str, object]], None]):
        self._write = write
        self.late = 0.0  # seconds, the most that a chunk of a microphone was sent too late

    def question(self, asked: Asked, talk: Talk) -> None:
        self.late = max(self.late, talk.microphone.late)
        self._write({"what": "question", **asked.facts()})

    def error(self, error: Exception) -> None:
        told = error.details() if isinstance(error, grpc.RpcError) else str(error)
        self._write({"what": "error", "message": told or type(error).__name__})


async def converse(
    talk: Callable[[int], Talk], dialogues: Iterable[Dialogue], turns: int, seed: int, reports: Reports
) -> None:
    """One user. `talk`: makes a connection, of a seed. A dialogue that fails is reported, and the next begins."""
    rng, left = random.Random(seed), turns
    for number, dialogue in enumerate(dialogues):
        try:
            async with talk(seed + number).open() as open_talk:
                for clip, picture in asked_of(dialogue):
                    if not left:
                        return
                    left -= 1
                    await asyncio.sleep(rng.uniform(*PAUSE))
                    reports.question(await open_talk.ask(clip, picture), open_talk)
        except (grpc.RpcError, ConnectionError) as error:
            reports.error(error)


def asked_of(dialogue: Dialogue) -> Iterator[tuple[Clip, bytes]]:
    """The questions; the picture is shown with the first."""
    for number, clip in enumerate(dialogue.clips):
        yield clip, b"" if number else dialogue.picture


class Crowd:
    """Users who do not wait for each other: who has been silent longest asks the next question, or somebody new."""

    def __init__(self, talk: Callable[[int], Talk], dialogues: Iterable[Dialogue], reports: Reports):
        self._talk, self._dialogues, self._reports = talk, enumerate(dialogues), reports
        self._silent: deque[asyncio.Future[bool]] = deque()  # of a user: whether to ask; no more questions come else
        self._over = False

    async def run(self, rate: float, seconds: float, rng: random.Random) -> None:
        """`rate`: questions a second. Returns when all of them have been answered, or have got no answer."""
        began = due = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while (due := due + rng.expovariate(rate)) < began + seconds:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if self._silent:
                    self._silent.popleft().set_result(True)
                else:
                    group.create_task(self._speak(*next(self._dialogues)))
            self._over = True
            while self._silent:
                self._silent.popleft().set_result(False)

    async def _speak(self, number: int, dialogue: Dialogue) -> None:
        try:
            async with self._talk(number).open() as talk:
                for clip, picture in asked_of(dialogue):
                    if not picture and not await self._next():  # who begins a dialogue comes to ask
                        return
                    self._reports.question(await talk.ask(clip, picture), talk)
        except (grpc.RpcError, ConnectionError) as error:
            self._reports.error(error)

    async def _next(self) -> bool:
        """Waits, silent, for the next question; False: no more come."""
        if self._over:
            return False
        user = asyncio.get_running_loop().create_future()
        self._silent.append(user)
        try:
            return await user
        finally:
            if user in self._silent:  # its connection was lost
                self._silent.remove(user)


async def talk_all(arguments: argparse.Namespace, reports: Reports) -> None:
    dialogues = [Dialogue.load(path) for path in sorted(arguments.dialogues.iterdir())]

    def talk(seed: int) -> Talk:
        return Talk(Client(arguments.address), arguments.detection, arguments.max_tokens, seed)

    if arguments.rate:
        rng = random.Random(arguments.seed)
        await Crowd(talk, cycle(dialogues), reports).run(arguments.rate, arguments.seconds, rng)
        return
    async with asyncio.TaskGroup() as group:
        for user in range(arguments.sessions):
            own = dialogues[user :: arguments.sessions]
            group.create_task(converse(talk, own, arguments.turns, 1000 * user, reports))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True, help="host:port of a gateway's gRPC server")
    parser.add_argument("--dialogues", type=Path, required=True, help="folder with what is asked (`Dialogue.save`)")
    parser.add_argument("--detection", choices=TURNS, default=HANDS_FREE, help="who says where a question ends")
    parser.add_argument("--sessions", type=int, default=1, help="users at once")
    parser.add_argument("--turns", type=int, default=6, help="questions of each")
    parser.add_argument("--rate", type=float, default=0.0, help="questions a second, by chance; 0: users wait")
    parser.add_argument("--seconds", type=float, default=60.0, help="that questions come at this rate")
    parser.add_argument("--seed", type=int, default=0, help="of when they come")
    parser.add_argument("--max-tokens", type=int, default=64, help="of an answer")
    reports = Reports(lambda facts: print(json.dumps(facts), flush=True))
    asyncio.run(talk_all(parser.parse_args(), reports))
    print(json.dumps({"what": "client", "late": reports.late, "cpu": time.process_time()}), flush=True)


if __name__ == "__main__":
    main()
