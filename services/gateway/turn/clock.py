"""Where the time of a turn went. The steps are measured here only: latency and spans are both made of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from services.gateway.events import Latency
from services.telemetry import metrics, tracing


class Step(NamedTuple):
    """On the monotonic clock, in seconds."""

    name: str
    began: float
    ended: float
    parent: str = ""  # name of the step that it is part of; empty: of the turn

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass
class TurnClock:
    """When things happened, `time.monotonic()`; 0: not yet. `close` must be called once the turn is over."""

    began: float = field(default_factory=time.monotonic)
    voiced: float = 0.0  # the last sound of the question
    asked: float = 0.0  # the question was complete
    embeddings: float = 0.0  # its last embeddings had come
    token: float = 0.0  # the first token
    audio: float = 0.0  # the first audio
    ended: float = 0.0
    decoder: float = 0.0  # seconds: first clause complete → its first audio, as the speech decoder measured it
    vision: float = 0.0  # seconds: picture received → embeddings
    held: float = 0.0  # seconds that audio has waited for a client that does not read
    _phase: str = ""

    def __post_init__(self) -> None:
        self._enter("question")

    def ask(self, silent_seconds: float = 0.0) -> None:
        """The question is complete. `silent_seconds`: that it has been silent before that was known."""
        self.asked = time.monotonic()
        self.voiced = max(self.began, self.asked - silent_seconds)
        self._enter("waiting")

    def embedded(self) -> None:
        self.embeddings = time.monotonic()

    def answer(self, audio: bool) -> None:
        """A token of the answer has come, or audio; the first of each counts. One that was held comes now."""
        if audio:
            self.audio = self.audio or time.monotonic()
        else:
            self.token = self.token or time.monotonic()

    @property
    def waiting_seconds(self) -> float:
        """That the user has waited for the first of the answer; 0 before the question's end and once it has come."""
        return time.monotonic() - self.asked if self._phase == "waiting" else 0.0

    @property
    def first_audio(self) -> float:
        """Seconds from the last sound of the question to the first audio of the answer."""
        return self.audio - self.voiced

    def lead(self, delivered: float) -> float:
        """Seconds of audio that are left to a client which plays from the first on; `delivered`: seconds until now."""
        return delivered - (time.monotonic() - self.audio - self.held)

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Around the delivery of audio, which may wait for the client."""
        began = time.monotonic()
        yield
        self.held += time.monotonic() - began

    def deliver(self) -> None:
        """The client is given the first of the answer."""
        self._enter("answering")

    def end(self) -> None:
        """The turn is over: `steps` and `latency` are what they will be."""
        self.ended = time.monotonic()

    def close(self) -> None:
        """It no longer counts as open."""
        self._enter("")

    def _enter(self, phase: str) -> None:
        """Counts the turn among those that are open."""
        if phase == self._phase:
            return
        if self._phase:
            metrics.OPEN_TURNS.labels(self._phase).dec()
        if phase:
            metrics.OPEN_TURNS.labels(phase).inc()
        self._phase = phase

    def steps(self) -> list[Step]:
        """Those that have begun, of a turn that has ended; a step follows the one that it is part of."""
        if not self.asked:
            return [Step("listen", self.began, self.ended)]
        voiced = self.voiced or self.asked
        steps = [Step("listen", self.began, voiced), Step("answer", voiced, self.ended)]
        prompt = max(self.asked, self.embeddings)  # complete
        if self.audio:
            prompt = min(prompt, self.token)  # the rest of it can come behind a token that was held
            decoding = self.audio - min(self.decoder, self.audio - self.token)
            steps += [
                Step("first_audio", voiced, self.audio, "answer"),
                Step("end_of_turn", voiced, self.asked, "first_audio"),
                Step("speech_encoder", self.asked, prompt, "first_audio"),
                Step("first_token", prompt, self.token, "first_audio"),
                Step("first_clause", self.token, decoding, "first_audio"),
                Step("speech_decoder", decoding, self.audio, "first_audio"),
                Step("deliver", self.audio, self.ended, "answer"),
            ]
        else:
            steps.append(Step("speech_encoder", self.asked, prompt, "answer"))
            if self.token:
                steps.append(Step("first_token", prompt, self.token, "answer"))
        return steps

    def latency(self) -> Latency:
        """Of a turn that has ended."""
        seconds = {step.name: step.seconds for step in self.steps()}
        return Latency(
            first_audio=seconds.get("first_audio", 0.0),
            end_of_turn=seconds.get("end_of_turn", 0.0),
            speech_encoder=seconds.get("speech_encoder", 0.0),
            first_token=seconds.get("first_token", 0.0),
            first_clause=seconds.get("first_clause", 0.0),
            speech_decoder=seconds.get("speech_decoder", 0.0),
            vision_encoder=self.vision,
            total=seconds.get("answer", 0.0),
        )

    def record(self, turn: tracing.Span) -> None:
        """Adds the steps to the trace of the turn."""
        spans = {"": turn}
        for step in self.steps():
            spans[step.name] = tracing.record(step.name, step.began, step.ended, spans[step.parent])
