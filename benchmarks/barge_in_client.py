"""The users of the barge-in benchmark, in a process of their own: each hears an answer, and something sounds meanwhile.

    python -m benchmarks.barge_in_client --address 127.0.0.1:50051 --clips FOLDER --sessions 4

Prints a line of JSON for each clip.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from benchmarks.clip import Clip
from benchmarks.microphone import Microphone
from cli.client import Client
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling, State
from protos.parley.v1.usage_pb2 import FinishReason

QUESTION = "count from one to twelve."  # its answer lasts longer than most clips
MAX_TOKENS = 64
HEARD = (0.3, 1.2)  # seconds of the answer, before something sounds
WAIT_SECONDS = 2.5  # after the clip, for what becomes of it: the longest silence that ends a question, and an answer
REPORT_SECONDS = 0.1  # between two reports of what was played
Action = wire.Playback.Action


@dataclass
class Player:
    """Plays an answer as a client does: it pauses, goes on and stops as it is told."""

    received: int = 0  # samples
    rate: int = 0  # Hz
    first: float = 0.0  # when audio came first, `time.monotonic()`; 0: not yet
    paused: float = 0.0  # seconds, of the pauses that have ended
    pause_began: float = 0.0  # 0: it plays

    def pause(self, now: float) -> None:
        self.pause_began = self.pause_began or now

    def resume(self, now: float) -> None:
        if self.pause_began:
            self.paused, self.pause_began = self.paused + now - self.pause_began, 0.0

    def played(self, now: float) -> int:
        """Samples."""
        if not self.first:
            return 0
        seconds = (self.pause_began or now) - self.first - self.paused
        return min(self.received, round(seconds * self.rate))


@dataclass
class Outcome:
    """Of one clip. Times are of `time.monotonic()`, 0 where it did not happen."""

    clip: Clip
    voiced: tuple[float, float] = (0.0, 0.0)  # when its first and last sound are made
    held: float = 0.0  # the player was told to pause, for the first time
    taken: float = 0.0  # the answer was interrupted
    resumed: float = 0.0  # the player was told to go on, for the last time
    last_audio: float = 0.0  # of the old answer
    late: int = 0  # events with text or audio of the old answer, after it was interrupted
    lost: int = 0  # samples of the old answer that are missing between two pieces
    answered: float = 0.0  # first audio of the answer to the clip
    player: Player = field(default_factory=Player)

    def facts(self) -> dict[str, object]:
        began, ended = self.voiced

        def after(moment: float, start: float) -> float | None:
            return 1000 * (moment - start) if moment > began else None

        return {
            "kind": self.clip.kind,
            "text": self.clip.text,
            "taken": bool(self.taken),
            "held": after(self.held, began),
            "decided": after(self.taken, began),
            "resumed": after(self.resumed, began),
            "last_audio": after(self.last_audio, began),
            "answered": after(self.answered, ended),
            "paused": 1000 * self.player.paused,
            "late": self.late,
            "lost": self.lost,
        }


class Listener:
    """One session, one answer, one clip."""

    def __init__(self, client: Client, clip: Clip, seed: int):
        self._client, self._rng = client, random.Random(seed)
        self.outcome = Outcome(clip)
        self._microphone = Microphone(seed, clip.sample_rate, lambda audio: self._send(audio=audio))
        self._sending = asyncio.Lock()  # a stream takes one write at a time
        self._old = ""  # id of the turn that answers
        self._changed = asyncio.Event()

    async def run(self) -> Outcome:
        clip, outcome = self.outcome.clip, self.outcome
        config = wire.SessionConfig(input_sample_rate=clip.sample_rate, sampling=Sampling(max_tokens=MAX_TOKENS))
        await self._client.open(config)
        beside = [asyncio.create_task(each) for each in (self._microphone.run(), self._listen(), self._report())]
        try:
            await self._send(text=QUESTION)
            await self._send(respond=wire.Respond())
            await self._until(lambda: outcome.player.first, 30)
            await asyncio.sleep(self._rng.uniform(*HEARD))
            said = self._microphone.say(clip.audio)
            outcome.voiced = tuple(said + sample / clip.sample_rate for sample in clip.voiced)
            await self._until(lambda: outcome.answered, outcome.voiced[1] + WAIT_SECONDS - time.monotonic())
        finally:
            broken = [each.exception() for each in beside if each.done()]
            for each in beside:
                each.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        if broken:
            raise ConnectionError(f"the conversation broke off: {broken[0]}")
        return outcome

    async def _send(self, **event) -> None:
        async with self._sending:
            await self._client.send(**event)

    async def _until(self, happened, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not happened():
                    self._changed.clear()
                    await self._changed.wait()

    async def _listen(self) -> None:
        async for event in self._client.events():
            self._take(event, time.monotonic())
            self._changed.set()

    def _take(self, event: wire.ServerEvent, now: float) -> None:
        kind, outcome = event.WhichOneof("event"), self.outcome
        if kind == "audio" and not self._old:
            self._old = event.turn_id
        if event.turn_id == self._old:
            self._take_old(event, kind, now)
        elif kind == "audio" and not outcome.answered:
            outcome.answered = now
        elif kind == "state" and event.state.state != State.STATE_NOTHING and self._old:
            outcome.taken = outcome.taken or now

    def _take_old(self, event: wire.ServerEvent, kind: str, now: float) -> None:
        outcome, player = self.outcome, self.outcome.player
        outcome.late += kind in ("audio", "text") and bool(outcome.taken)
        if kind == "audio":
            player.first, player.rate = player.first or now, event.audio.sample_rate
            outcome.lost += event.audio.offset - player.received
            player.received = event.audio.offset + len(event.audio.audio) // 2
            outcome.last_audio = now
        elif kind == "playback" and event.playback.action == Action.ACTION_PAUSE:
            outcome.held = outcome.held or now
            player.pause(now)
        elif kind == "playback" and event.playback.action == Action.ACTION_RESUME:
            outcome.resumed = now
            player.resume(now)
        elif kind == "playback" or (
            kind == "done" and event.done.finish_reason == FinishReason.FINISH_REASON_CANCELLED
        ):
            outcome.taken = outcome.taken or now
            player.pause(now)

    async def _report(self) -> None:
        """Says what was played."""
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            if self._old and not self.outcome.taken:
                played = self.outcome.player.played(time.monotonic())
                await self._send(played=wire.Played(turn_id=self._old, samples=played))


async def listen_all(arguments: argparse.Namespace) -> None:
    left = iter(enumerate(sorted(arguments.clips.iterdir())))

    async def user() -> None:
        for number, path in left:
            try:
                async with Client(arguments.address) as client:
                    outcome = await Listener(client, Clip.load(path), number).run()
                print(json.dumps({"what": "clip", **outcome.facts()}), flush=True)
            except (grpc.RpcError, ConnectionError) as error:
                print(json.dumps({"what": "error", "message": str(error)}), flush=True)

    await asyncio.gather(*(user() for _ in range(arguments.sessions)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True, help="host:port of a gateway's gRPC server")
    parser.add_argument("--clips", type=Path, required=True, help="folder with what sounds (`Clip.save`)")
    parser.add_argument("--sessions", type=int, default=4, help="users at once")
    asyncio.run(listen_all(parser.parse_args()))


if __name__ == "__main__":
    main()
