"""What the Python clients share: a microphone, a loudspeaker, and the three things that each has to do.

`run.py` starts each client as a program of its own and says by environment variables where the server is
(OPENAI_BASE_URL, OPENAI_API_KEY), what is said to it (CLIENT_QUESTION, CLIENT_LONG_QUESTION: WAV, 24 kHz) and how a
connection is cut (CLIENT_CUT: a URL). A client prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
import urllib.request
import wave
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Protocol

RATE = 24_000  # Hz, 16-bit mono, in both directions
CHUNK_SECONDS = 0.04
SPOKEN_BEFORE_INTERRUPTION = 0.4  # seconds of an answer that are played before the user speaks again
PAUSE_SECONDS = 0.5  # before a question
SILENCE_SECONDS = 0.1  # longest gap between two pieces of audio that a player puts up with
ANSWER_SECONDS = 40.0  # that an answer may take, question and playing


class Microphone:
    """Sends in real time without end; silence while nothing is said."""

    def __init__(self) -> None:
        self._speech = b""

    def say(self, speech: bytes) -> None:
        self._speech += speech

    async def chunks(self) -> AsyncIterator[bytes]:
        size, due = 2 * round(RATE * CHUNK_SECONDS), time.monotonic()
        while True:
            chunk, self._speech = self._speech[:size].ljust(size, b"\0"), self._speech[size:]
            yield chunk
            due += CHUNK_SECONDS
            await asyncio.sleep(max(0.0, due - time.monotonic()))


class Loudspeaker:
    """Plays at once and in real time."""

    def __init__(self) -> None:
        self._began = self._ends = 0.0  # of what is played, `time.monotonic()`

    def play(self, audio: bytes) -> None:
        now = time.monotonic()
        if not self.playing:
            self._began = self._ends = now
        self._ends = max(self._ends, now) + len(audio) / 2 / RATE

    def clear(self) -> None:
        self._ends = 0.0

    @property
    def playing(self) -> bool:
        return time.monotonic() < self._ends + SILENCE_SECONDS

    @property
    def played(self) -> float:
        """Seconds of the newest answer."""
        return min(time.monotonic(), self._ends) - self._began

    @property
    def received(self) -> float:
        """Seconds of the newest answer."""
        return self._ends - self._began

    async def finish(self) -> None:
        await asyncio.sleep(max(0.0, self._ends - time.monotonic()))


@dataclass
class Answer:
    text: str = ""
    audio_s: float = 0.0


@dataclass
class Interruption:
    played_s: float
    received_s: float


class Client(Protocol):
    async def listen(self) -> None:
        """Passes on what comes, until it is cancelled."""

    async def ready(self) -> None:
        """Returns when there is a session."""

    async def send(self, chunk: bytes) -> None:
        """Audio of the microphone; what cannot be sent is dropped."""

    async def reconnect(self) -> None:
        """The connection has just been cut: returns when there is another session."""


class Talk:
    """What a client was told, in its own terms, and what came of it."""

    def __init__(self, name: str):
        self.name = name
        self.microphone, self.loudspeaker = Microphone(), Loudspeaker()
        self.heard: list[str] = []  # transcripts of questions
        self.truncated = 0  # times that the client has told the server how much was heard
        self.errors: list[str] = []
        self.reconnected_by = "a new session"
        self._answer = Answer()
        self._answers: asyncio.Queue[Answer] = asyncio.Queue()
        self._interruptions: asyncio.Queue[Interruption] = asyncio.Queue()
        self._cut = False

    # What clients call.

    def audio(self, audio: bytes) -> None:
        self._answer.audio_s += len(audio) / 2 / RATE
        self.loudspeaker.play(audio)

    def text(self, text: str) -> None:
        self._answer.text += text

    def complete(self) -> None:
        """The answer is complete; nothing where there was none."""
        if self._answer.audio_s:
            self._answers.put_nowait(self._answer)
        self._answer = Answer()

    def interrupted(self) -> None:
        """The user spoke; nothing where no answer was being played."""
        if self.loudspeaker.playing:
            interruption = Interruption(self.loudspeaker.played, self.loudspeaker.received)
            self._interruptions.put_nowait(interruption)
        self.loudspeaker.clear()
        self._answer = Answer()

    def error(self, text: object) -> None:
        if not self._cut:  # else it is about the connection that the test has cut
            self.errors.append(str(text)[:500])

    # What clients do.

    async def run(self, client: Client) -> dict:
        """Asks, interrupts, loses the connection; what happened, for the runner."""
        working = [asyncio.create_task(client.listen()), asyncio.create_task(self._send(client))]
        talking = asyncio.create_task(self._talk(client))
        try:
            done, _ = await asyncio.wait({*working, talking}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {talking}:
                task.result()  # raises what has ended it
            return await talking
        finally:
            for task in (*working, talking):
                task.cancel()
            await asyncio.gather(*working, talking, return_exceptions=True)

    async def _send(self, client: Client) -> None:
        async for chunk in self.microphone.chunks():
            await client.send(chunk)

    async def _talk(self, client: Client) -> dict:
        async with asyncio.timeout(ANSWER_SECONDS):
            await client.ready()
        turn = await self._ask("CLIENT_QUESTION")
        interruption, after = await self._interrupt()
        truncated = self.truncated
        self._cut = True
        await asyncio.to_thread(lambda: urllib.request.urlopen(os.environ["CLIENT_CUT"], timeout=10).read())
        async with asyncio.timeout(ANSWER_SECONDS):
            await client.reconnect()
        self._cut = False
        again = await self._ask("CLIENT_QUESTION")
        return {
            "turn": asdict(turn),
            "interruption": {**asdict(interruption), "truncated": truncated, "next": asdict(after)},
            "reconnect": {"by": self.reconnected_by, "next": asdict(again)},
            "heard": self.heard,
            "errors": self.errors,
        }

    async def _ask(self, name: str) -> Answer:
        await asyncio.sleep(PAUSE_SECONDS)
        self.microphone.say(speech(name))
        return await self._next_answer()

    async def _next_answer(self) -> Answer:
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await self._answers.get()
            await self.loudspeaker.finish()
        return answer

    async def _interrupt(self) -> tuple[Interruption, Answer]:
        await asyncio.sleep(PAUSE_SECONDS)
        self.microphone.say(speech("CLIENT_LONG_QUESTION"))
        async with asyncio.timeout(ANSWER_SECONDS):
            while not self.loudspeaker.playing or self.loudspeaker.played < SPOKEN_BEFORE_INTERRUPTION:
                await asyncio.sleep(0.02)
            self.microphone.say(speech("CLIENT_QUESTION"))
            interruption = await self._interruptions.get()
        while not self._answers.empty():
            self._answers.get_nowait()  # the interrupted one, which may have been complete
        return interruption, await self._next_answer()


def speech(name: str) -> bytes:
    """Of the WAV file that an environment variable names."""
    with wave.open(os.environ[name]) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        return file.readframes(file.getnframes())


def websocket_url() -> str:
    """Of the Realtime API, without a query, for clients that ask for the whole address."""
    return os.environ["OPENAI_BASE_URL"].replace("http", "ws", 1) + "/realtime"


def report(talk: Talk, result: dict) -> None:
    print(json.dumps({"client": talk.name, **result}), flush=True)


@contextlib.contextmanager
def failures(talk: Talk):
    """Prints what a client ended of, as the runner reads it."""
    try:
        yield
    except Exception as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        report(talk, {"failed": f"{type(error).__name__}: {error}", "heard": talk.heard, "errors": talk.errors})
