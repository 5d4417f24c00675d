"""One try at an answer, to the question as far as it had come: generate and synthesize.

It tells nothing until it is released. A try that the user speaks on after is dropped, and with it all that it computed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from protos.parley.v1.language_model_pb2 import GenerateDone, State, StateDecision, Token
from services.gateway.conversation.answer import Answer
from services.gateway.conversation.held_events import HeldEvents
from services.gateway.conversation.tool_calls import CallReader, Piece, call_item
from services.gateway.events import AudioDelta, FunctionCallDelta, FunctionCallDone, StateDecided, TextDelta
from services.gateway.turn.clock import TurnClock
from services.gateway.turn.encode_speech import Tail
from services.gateway.turn.generate import Prompt, Resolve, generate
from services.gateway.turn.input_log import InputLog
from services.gateway.turn.synthesize import Speech, synthesize
from services.gateway.upstream.calls import CallContext, Calls
from services.telemetry import metrics, tracing

STATES = {State.STATE_SPEECH: "speech", State.STATE_TEXT: "text", State.STATE_NOTHING: "nothing"}


@dataclass(frozen=True)
class Upstream:
    """What an answer is computed by, and how it is spoken."""

    calls: Calls
    context: CallContext
    speech: Speech
    resolve: Resolve


class Attempt:
    def __init__(
        self,
        prompt: Prompt,
        answer: Answer,
        upstream: Upstream,
        events: HeldEvents,
        clock: TurnClock,
        on_state: Callable[[Attempt], None],
    ):
        """`prompt`: its parts are written beside `run`. `answer`: empty. `on_state`: called once the state is read."""
        self.prompt, self.answer = prompt, answer
        self.read: StateDecided | None = None  # the state, as the language model read it
        self.complete: float | None = None  # probability that the question is, where the model has a head for it
        self.done: GenerateDone | None = None
        self.spoken_by = ""  # weights of the speech decoder
        self.tail: Tail | None = None  # of the pause at which the question may be over
        self.texts = 0  # of the question, in the prompt
        self._upstream, self._events, self._clock, self._on_state = upstream, events, clock, on_state
        self._state_known = asyncio.Event()
        self._first_token = self._first_audio = self._late = False
        self._decoder_seconds = 0.0
        self._ids: list[int] = []  # of tokens that have not been told
        self._call_reader = CallReader(upstream.context.turn_id, {tool.name for tool in prompt.tools})
        self._tokens: InputLog[Token] = InputLog()

    @property
    def released(self) -> bool:
        return self._events.released

    @property
    def held(self) -> bool:
        """The answer is computed although the question may go on."""
        return self.tail is not None and not self.prompt.only_state and not self.released

    @property
    def state(self) -> str | None:
        return None if self.read is None else self.read.state

    @property
    def finished(self) -> bool:
        """The answer has come to its end."""
        return self._tokens.closed

    def release(self) -> None:
        """The question is over, and this is its answer. What was computed counts from now on."""
        if self._first_token:
            self._clock.answer(audio=False)
        if self._first_audio:
            self._deliver_audio()
        elif self.answer.calls or (self._first_token and not self.answer.spoken):
            self._clock.deliver()
        self.answer.begin_playing()
        self._clock.decoder = self._decoder_seconds
        self._events.release()

    def forget(self) -> None:
        """The turn is over: the prompt, which has the speech in it, is let go."""
        self.prompt, self.tail = Prompt(), None

    async def run(self) -> None:
        """Returns when all of the answer has been told; of one that only reads the state, when it is read."""
        async with asyncio.TaskGroup() as group:
            flushing = group.create_task(self._events.flush())
            synthesizing = group.create_task(self._synthesize())
            with tracing.step("generate"):
                calls, context, resolve = self._upstream.calls, self._upstream.context, self._upstream.resolve
                done = await generate(self.prompt, calls, self, context, resolve)
            if self.prompt.only_state:
                flushing.cancel()
                synthesizing.cancel()
                return
            self.done = done
            await self._add(self._call_reader.finish())
            self._tokens.close()
            self._state_known.set()

    # Generate.

    def on_state(self, decision: StateDecision) -> None:
        self.read = StateDecided(STATES[decision.state], tuple(decision.probabilities))
        self.complete = decision.complete if decision.HasField("complete") else None
        tracing.event("state", state=self.read.state)
        self._on_state(self)
        self._state_known.set()

    async def on_token(self, token: Token) -> None:
        self._first_token = True
        if self.released:
            self._clock.answer(audio=False)
            if not self.answer.spoken:
                self._clock.deliver()
        self.answer.tokens += 1
        if not self.prompt.tools:
            self._ids.append(token.id)
        await self._add(self._call_reader.read(token))

    async def _add(self, pieces: Iterable[Piece]) -> None:
        """The next of the answer: its text is spoken, its calls are not."""
        for piece in pieces:
            if not isinstance(piece, Token):
                await self._add_call(piece)
                continue
            self._tokens.append(piece)
            if piece.text:
                self.answer.text += piece.text
                ids, self._ids = tuple(self._ids), []
                await self._events.put(TextDelta(piece.text, ids))

    async def _add_call(self, piece: FunctionCallDelta | FunctionCallDone) -> None:
        await self._events.put(piece)
        if self.released:
            self._clock.deliver()
        if isinstance(piece, FunctionCallDone):
            self.answer.calls.append(call_item(self._upstream.context.turn_id, piece))

    # Synthesize.

    async def _synthesize(self) -> None:
        await self._state_known.wait()
        if self.state in (None, "nothing") or not self.answer.spoken:
            return
        if not await self._tokens.begun():  # the answer has no text
            return
        with tracing.step("synthesize"):
            upstream = self._upstream
            done = await synthesize(self._tokens, upstream.calls, self, upstream.context, upstream.speech)
        self._decoder_seconds = self._clock.decoder = done.first_audio_seconds
        self.spoken_by = done.weights

    async def on_audio(self, audio: bytes, sample_rate: int, text: str) -> None:
        first, self._first_audio = not self._first_audio, True
        if self.released and first:
            self._deliver_audio()
        elif self.released:
            lead = self._clock.lead(self.answer.audio_seconds)
            metrics.AUDIO_LEAD_SECONDS.observe(lead)
            self._count_late(lead < metrics.LITTLE_LEAD)
        samples, offset = len(audio) // 2, self.answer.samples
        self.answer.add_audio(samples, sample_rate, text)
        metrics.AUDIO_SECONDS.labels("gateway", "out").inc(samples / max(1, sample_rate))
        delta = AudioDelta(audio, sample_rate, offset, spoken=self.answer.marks[-1][1])
        with self._clock.holding() if self.released else contextlib.nullcontext():
            await self._events.put(delta)

    def _deliver_audio(self) -> None:
        """The client is given the first audio."""
        self._clock.answer(audio=True)
        self._clock.deliver()
        metrics.FIRST_AUDIO_SECONDS.labels("gateway").observe(self._clock.first_audio, tracing.exemplar())
        self._count_late(self._clock.first_audio > metrics.LATE_FIRST_AUDIO)

    def _count_late(self, late: bool) -> None:
        """Counts the answer the first time that its audio is late."""
        if late and not self._late:
            self._late = True
            metrics.LATE_ANSWERS.inc()
