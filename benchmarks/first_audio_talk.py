"""A conversation as a user has it: each question is spoken in real time, its answer heard to the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from benchmarks.clip import Clip
from benchmarks.microphone import Microphone
from benchmarks.player import Player
from cli.client import Client
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling
from protos.parley.v1.usage_pb2 import FinishReason

HANDS_FREE, FIXED, MANUAL = "hands-free", "fixed-wait", "manual"
TURNS = (HANDS_FREE, FIXED, MANUAL)  # who says where a question ends
FIXED_SECONDS = 0.55  # of silence, with `FIXED`
RATE = 16_000  # Hz, of what is sent
ANSWER_SECONDS = 15.0  # a question without an answer for this long has none
SETTLE_SECONDS = 0.4  # after its last sound: what was said after a cut may still be noticed as a question of its own
LOOK_SECONDS = 0.02  # between two looks whether an answer is over
PARTS = ("end_of_turn", "speech_encoder", "first_token", "first_clause", "speech_decoder")  # of `Latency`


@dataclass
class Reply:
    """What the server made of speech: a turn of its own. Times are of `time.monotonic()`; 0: not yet."""

    stopped: float = 0.0  # the server said that the question was over
    answered: float = 0.0  # the first text or audio came
    player: Player = field(default_factory=Player)
    done: wire.TurnDone | None = None

    @property
    def reason(self) -> str:
        reason = FinishReason.Name(self.done.finish_reason) if self.done else "none"
        return reason.removeprefix("FINISH_REASON_").lower()

    def over(self, now: float) -> bool:
        return self.done is not None and now >= self.player.ends

    def take(self, event: wire.ServerEvent, now: float) -> None:
        kind = event.WhichOneof("event")
        if kind == "speech_stopped":
            self.stopped = now
        elif kind in ("text", "audio"):
            self.answered = self.answered or now
        if kind == "audio":
            self.player.add(len(event.audio.audio) / 2 / event.audio.sample_rate, now)
        elif kind == "done":
            self.done = event.done
            self.player.finish(now)


class Asked:
    """A question that is being asked, and what came of it: one reply, unless a pause was taken for its end."""

    def __init__(self, clip: Clip, began: float):
        """`began`: when the clip's first sample is spoken."""
        self.clip = clip
        self.asked = began + clip.voiced[1] / clip.sample_rate  # its last sound
        self.replies: dict[str, Reply] = {}  # by turn id

    def take(self, event: wire.ServerEvent, now: float) -> None:
        """Those of an earlier question's turns are passed over."""
        if event.HasField("speech_started"):
            self.replies[event.turn_id] = Reply()
        elif event.turn_id in self.replies:
            self.replies[event.turn_id].take(event, now)

    def settled(self, now: float) -> bool:
        replies = self.replies.values()
        return now > self.asked + SETTLE_SECONDS and bool(replies) and all(reply.over(now) for reply in replies)

    @property
    def cut(self) -> bool:
        """It was taken for complete, or answered, before the user was done."""
        return any(0 < at < self.asked for reply in self.replies.values() for at in (reply.stopped, reply.answered))

    def facts(self) -> dict[str, object]:
        """Seconds, from the last sound; of the reply with the first audio after it, None where there is none."""
        heard = [reply for reply in self.replies.values() if reply.player.last > self.asked]
        reply = min(heard, key=lambda reply: reply.player.first, default=Reply())
        latency = reply.done.latency if reply.done else wire.Latency()
        player = reply.player
        return {
            "text": self.clip.text,
            "kind": self.clip.kind,
            "pause": round(self.clip.pause, 3),
            "whole_before": self.clip.whole_before,
            "cut": self.cut,
            "answered": bool(heard),
            "reasons": [each.reason for each in self.replies.values()],
            "first_audio": player.first - self.asked if heard else None,
            "stopped": reply.stopped - self.asked if reply.stopped else None,
            "parts": {name: getattr(latency, name) for name in PARTS},
            "rest": player.first - self.asked - latency.first_audio if heard else None,
            "audio_s": player.received,
            "generated_s": player.last - player.first,
            "underruns": player.underruns,
        }


class Talk:
    """One connection. `async with talk.open()`, then a question after the other."""

    def __init__(self, client: Client, turns: str, max_tokens: int, seed: int = 0):
        """`turns`: one of `TURNS`. Hands-free the server detects where a question ends, as it does by default or after
        a fixed wait; in manual turns the user holds a key while speaking."""
        self._client, self._manual = client, turns == MANUAL
        self._config = wire.SessionConfig(
            turn_detection=wire.TURN_DETECTION_MANUAL if turns == MANUAL else wire.TURN_DETECTION_SERVER_VAD,
            input_sample_rate=RATE,
            sampling=Sampling(max_tokens=max_tokens),
            end_seconds=FIXED_SECONDS if turns == FIXED else None,
        )
        self.microphone = Microphone(seed, RATE, lambda audio: self._send(audio=audio))
        self._sending = asyncio.Lock()
        self._question: Asked | None = None

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Talk]:
        """Raises `grpc.RpcError` where the gateway refuses or is lost."""
        async with self._client:
            await self._client.open(self._config)
            async with _ending(self._listen(), *([] if self._manual else [self.microphone.run()])):
                yield self

    async def ask(self, clip: Clip, picture: bytes = b"") -> Asked:
        """`picture`: sent when the user begins to speak. Returns when the answer has been played, or none came."""
        if picture:
            await self._send(image=picture)
        if self._manual:
            await self._press(clip)
        else:
            self._question = Asked(clip, self.microphone.say(clip.audio))
        return await self._hear(self._question)

    async def _press(self, clip: Clip) -> None:
        began = time.monotonic()
        self._question = Asked(clip, began)
        await self.microphone.speak(clip.audio[: clip.voiced[1] + 1], began)
        await self._send(end_of_audio=wire.EndOfAudio())

    async def _hear(self, question: Asked) -> Asked:
        until = question.asked + ANSWER_SECONDS
        while not question.settled(now := time.monotonic()) and now < until:
            await asyncio.sleep(LOOK_SECONDS)
        return question

    async def _send(self, **event: object) -> None:
        async with self._sending:  # gRPC takes one message at a time
            await self._client.send(**event)

    async def _listen(self) -> None:
        async for event in self._client.events():
            if self._question is not None:
                self._question.take(event, time.monotonic())
        raise ConnectionError("the gateway closed the conversation")


@contextlib.asynccontextmanager
async def _ending(*work):
    """Runs the work beside the body, and ends it with the body. What fails in either ends both, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
            yield
            for task in tasks:
                task.cancel()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
