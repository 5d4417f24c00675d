"""Questions whose answers are known, asked over and over: whether they are the same under load.

Each is spoken, about a picture, in a session of its own, over gRPC with manual turns; answers are greedy, so the words
are those of the undisturbed answer. Every second one is cut in its middle: the client leaves with the first audio,
connects again, and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from itertools import islice

import grpc

from benchmarks.workload import questions
from cli.client import Answer, Client, Question
from protos.parley.v1 import conversation_pb2 as wire

QUESTIONS = 6
ANSWER_SECONDS = 60.0
SHORTEST = 0.9  # of the undisturbed answer's audio; codec tokens are sampled in batches, so lengths may differ
CONFIG = wire.SessionConfig(turn_detection=wire.TURN_DETECTION_MANUAL)


class CutError(Exception):
    """The client has had the first audio."""


async def ask(address: str, question: Question, config: wire.SessionConfig = CONFIG) -> Answer:
    async with Client(address) as client:
        await client.open(config)
        return await client.ask(question)


async def ask_and_cut(address: str, question: Question, config: wire.SessionConfig = CONFIG) -> Answer:
    """What came before the cut and after it."""
    answer = Answer()

    def until_audio(event: wire.ServerEvent) -> None:
        answer.take(event, 0.0)
        if event.WhichOneof("event") == "audio":
            raise CutError

    async with Client(address) as client:
        await client.open(config, resumable=True)
        with contextlib.suppress(CutError):
            await client.ask(question, until_audio)
    async with Client(address) as again:
        await again.open(wire.SessionConfig(), client.session_id, resumable=True, after=client.last_sequence)
        async for event in again.events():
            if answer.take(event, 0.0):
                break
    return answer


def difference(answer: Answer, known: Answer) -> str:
    """What is wrong with an answer, "" for nothing."""
    if answer.error is not None:
        return f"{answer.error.code}: {answer.error.message}"
    if (answer.transcript, answer.text) != (known.transcript, known.text):
        return f"heard {answer.transcript!r}, said {answer.text!r}, not {known.transcript!r}, {known.text!r}"
    if answer.audio_seconds < SHORTEST * known.audio_seconds:
        return f"{answer.audio_seconds:.2f} s of audio, not {known.audio_seconds:.2f}"
    return ""


@dataclass
class Checks:
    """`wrong`: what was wrong, of each answer that was."""

    address: str
    known: list[tuple[Question, Answer]] = field(default_factory=list)
    asked: int = 0
    cut: int = 0
    wrong: list[str] = field(default_factory=list)

    async def learn(self) -> None:
        """The answers, while nobody else asks. Raises `RuntimeError` for one that is none."""
        for spoken in islice(questions(3), QUESTIONS):
            question = Question(audio=spoken.audio, images=[spoken.picture])
            answer = await ask(self.address, question)
            if not answer.complete or not answer.audio:
                raise RuntimeError(f"an undisturbed answer ended with {answer.finish_reason}: {answer.error}")
            self.known.append((question, answer))

    async def run(self, pause: float) -> None:
        """Until it is cancelled; `pause`: seconds between two questions."""
        while True:
            question, known = self.known[self.asked // 2 % len(self.known)]
            way = ask_and_cut if self.asked % 2 else ask
            self.asked += 1
            self.cut += way is ask_and_cut
            if wrong := await self._wrong(way, question, known):
                self.wrong.append(f"{way.__name__}: {wrong}")
            await asyncio.sleep(pause)

    async def _wrong(self, way, question: Question, known: Answer) -> str:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return difference(await way(self.address, question), known)
        except TimeoutError:
            return f"no answer in {ANSWER_SECONDS:g} s"
        except (grpc.RpcError, ConnectionError) as error:
            return str(error.details() if isinstance(error, grpc.RpcError) else error)
