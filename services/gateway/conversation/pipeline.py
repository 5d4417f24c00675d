"""The pipeline of one turn: a question goes through the three functions at once and becomes an answer.

    audio → encode speech → embeddings → generate → tokens → synthesize → audio

Pictures stand in front of the speech. One that comes while the user already speaks has the prompt started again, which
costs a prefill of what was said so far and nothing after the end of the question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import grpc

from protos.parley.v1.language_model_pb2 import GenerateDone, State, StateDecision, Token
from protos.parley.v1.tensor_pb2 import Tensor
from protos.parley.v1.usage_pb2 import FinishReason
from services.gateway.conversation.answer import Answer
from services.gateway.conversation.question import Question, to_wire
from services.gateway.conversation.tool_calls import CallReader, Piece, call_item
from services.gateway.events import (
    AudioDelta,
    Body,
    FunctionCallDelta,
    FunctionCallDone,
    StateDecided,
    TextDelta,
    Transcript,
    Usage,
)
from services.gateway.turn.clock import TurnClock
from services.gateway.turn.encode_speech import encode_speech
from services.gateway.turn.generate import Prompt, Resolve, generate
from services.gateway.turn.input_log import InputLog
from services.gateway.turn.synthesize import Speech, synthesize
from services.gateway.upstream.calls import CallContext, Calls
from services.rpc.errors import ServiceError
from services.telemetry import logs, metrics, tracing

log = logs.get_logger(__name__)

STATES = {State.STATE_SPEECH: "speech", State.STATE_TEXT: "text", State.STATE_NOTHING: "nothing"}


class TurnEvents:
    """What the pipeline tells, and whom. `emit` waits for a slow client, `emit_now` does not.

    `on_prompt`: is given the prompt once it is complete.
    """

    def __init__(
        self,
        emit: Callable[[Body], Awaitable[None]],
        emit_now: Callable[[Body], None],
        on_prompt: Callable[[Prompt], None] = lambda prompt: None,
    ):
        self.emit, self.emit_now, self.on_prompt = emit, emit_now, on_prompt


class TurnPipeline:
    """Knows no session: `read_prompt` gives the messages before the question, `resolve` embeddings by reference."""

    def __init__(
        self,
        question: Question,
        answer: Answer,
        calls: Calls,
        context: CallContext,
        speech: Speech,
        read_prompt: Callable[[], Awaitable[Prompt]],
        resolve: Resolve,
        events: TurnEvents,
        on_state: Callable[[str], None],
        on_speech: Callable[[], Awaitable[None]],
    ):
        """`on_state` is called with the state, `on_speech` once all speech is encoded, before the client is told."""
        self.question, self.answer, self.clock = question, answer, TurnClock()
        self.state: str | None = None
        self.state_known = asyncio.Event()  # also once it is known that it will never be
        self.heard = not question.spoken  # all of the speech is encoded, and the client has been told
        self.done: GenerateDone | None = None
        self.spoken_by = ""  # weights of the speech decoder
        self._calls, self._context, self._speech = calls, context, speech
        self._read_prompt, self._resolve, self._events = read_prompt, resolve, events
        self._on_state, self._on_speech = on_state, on_speech
        self._only_listens = asyncio.Event()
        self._prompt = Prompt()
        self._ids: list[int] = []  # of tokens that have not been told
        self._call_reader = CallReader(context.turn_id, ())
        self._tokens: InputLog[Token] = InputLog()
        self._prompt_has_speech = False
        self._prompt_changed = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._generate())
            group.create_task(self._synthesize())
            if self.question.spoken:
                group.create_task(self._encode_speech())

    async def run_again(self, calls: Calls) -> None:
        """On another release, after `run` has failed before it was known how the question is answered."""
        assert self.state is None
        self._calls, self._tokens = calls, InputLog()
        self.heard = not self.question.spoken
        self.question.forget_embeddings()
        await self.run()

    @property
    def complete(self) -> bool:
        """The answer has come to its end."""
        return self._tokens.closed

    def only_listen(self) -> None:
        """The question is only to be understood; what has been computed for an answer is thrown away."""
        self._only_listens.set()

    def history_changed(self) -> None:
        """What comes before the question is not what it was."""
        self._prompt_changed.set()

    def picture_added(self) -> None:
        """The question has one more picture."""
        if self._prompt_has_speech:
            self._prompt_changed.set()

    def release(self) -> None:
        """The turn is over: the prompt, which has the speech in it, is let go."""
        self._prompt = Prompt()

    @property
    def usage(self) -> Usage:
        counted = self.done.usage if self.done is not None else None
        own = [part.ref for part in self.question.item_parts() if part.ref is not None] if counted else []
        pictures = sum(ref.length for ref in own if ref != self.question.utterance)
        speech = sum(ref.length for ref in own if ref == self.question.utterance)
        return Usage(
            prompt_tokens=counted.prompt_tokens if counted else 0,
            prompt_audio_tokens=speech + self._prompt.count("utterance") if counted else 0,
            prompt_image_tokens=pictures + self._prompt.count("image") if counted else 0,
            cached_tokens=counted.cached_tokens if counted else 0,
            answer_tokens=counted.answer_tokens if counted else self.answer.tokens,
            audio_input_seconds=self.question.seconds,
            audio_output_seconds=self.answer.audio_seconds,
        )

    @property
    def weights(self) -> list[str]:
        """Names of the weights that took part in the answer: one, since a turn is bound to a release."""
        answered_by = self.done.weights if self.done is not None else ""
        pictures = (image.ref.weights for image in self.question.encoded_images())
        return sorted({*pictures, self.question.weights, answered_by, self.spoken_by} - {""})

    @property
    def finish_reason(self) -> str:
        """Of an answer that came to its end: stop, length or nothing; of a question that is not answered: stop."""
        if self.done is None:
            return "stop"
        return FinishReason.Name(self.done.finish_reason).removeprefix("FINISH_REASON_").lower()

    # Encode speech.

    async def _encode_speech(self) -> None:
        question = self.question
        with tracing.step("encode_speech"):
            done = await encode_speech(question.audio, question.sample_rate, self._calls, self, self._context)
        self.clock.embedded()
        if not self.question.embeddings.items:
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, "the audio is too short to recognise anything in it")
        self.question.transcript = done.transcript or self.question.transcript
        self.question.embeddings.close()
        self.question.name_utterance()
        await self._on_speech()
        self._events.emit_now(Transcript(self.question.transcript, final=True, seconds=self.question.seconds))
        self.heard = True

    def on_embeddings(self, embeddings: Tensor, weights: str) -> None:
        self.question.weights = weights
        self.question.embeddings.append(embeddings)

    def on_transcript(self, text: str) -> None:
        self.question.transcript = text
        self._events.emit_now(Transcript(text))

    # Generate.

    async def _generate(self) -> None:
        prompt = None
        while self.done is None and not self._only_listens.is_set():
            if prompt is None or self._prompt_changed.is_set():
                self._prompt_changed.clear()
                prompt = self._prompt = await self._read_prompt()
                self._call_reader = CallReader(self._context.turn_id, {tool.name for tool in prompt.tools})
            prompt.parts = InputLog()
            attempt = asyncio.create_task(self._generate_once(prompt))
            changed = asyncio.create_task(self._prompt_changed.wait())
            listens = asyncio.create_task(self._only_listens.wait())
            try:
                await asyncio.wait({attempt, changed, listens}, return_when=asyncio.FIRST_COMPLETED)
                if attempt.done():
                    self.done = attempt.result()
                    if self.done.dropped_messages:
                        log.info("older messages were left out of the prompt", messages=self.done.dropped_messages)
            finally:
                changed.cancel()
                listens.cancel()
                attempt.cancel()
                await asyncio.wait({attempt})
        await self._add(self._call_reader.finish())
        self._tokens.close()
        self.state_known.set()

    async def _generate_once(self, prompt: Prompt) -> GenerateDone:
        with tracing.step("generate"):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write_prompt(prompt))
                return await generate(prompt, self._calls, self, self._context, self._resolve)

    async def _write_prompt(self, prompt: Prompt) -> None:
        question = self.question
        self._prompt_has_speech = False
        for part in prompt.opening:
            prompt.parts.append(part)
        await question.write_images(prompt.parts)
        self.clock.vision = max((image.seconds for image in question.encoded_images()), default=0.0)
        self._prompt_has_speech = True  # from here on, another picture starts the prompt again
        await question.write_speech_and_text(prompt.parts)
        prompt.utterance = to_wire(question.utterance) if question.utterance is not None else None
        prompt.parts.close()
        self._events.on_prompt(prompt)

    def on_state(self, decision: StateDecision) -> None:
        self.state = STATES[decision.state]
        tracing.event("state", state=self.state)
        self._on_state(self.state)
        self.state_known.set()
        self._events.emit_now(StateDecided(self.state, tuple(decision.probabilities)))

    async def on_token(self, token: Token) -> None:
        self.clock.answer(audio=False)
        if not self.answer.spoken:
            self.clock.deliver()
        self.answer.tokens += 1
        if not self._prompt.tools:
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
                await self._events.emit(TextDelta(piece.text, ids))

    async def _add_call(self, piece: FunctionCallDelta | FunctionCallDone) -> None:
        self.clock.deliver()
        await self._events.emit(piece)
        if isinstance(piece, FunctionCallDone):
            self.answer.calls.append(call_item(self._context.turn_id, piece))

    # Synthesize.

    async def _synthesize(self) -> None:
        await self.state_known.wait()
        if self.state in (None, "nothing") or not self.answer.spoken:
            return
        if not await self._tokens.begun():  # the answer has no text
            return
        with tracing.step("synthesize"):
            done = await synthesize(self._tokens, self._calls, self, self._context, self._speech)
        self.clock.decoder = done.first_audio_seconds
        self.spoken_by = done.weights

    async def on_audio(self, audio: bytes, sample_rate: int, text: str) -> None:
        if not self.clock.audio:
            self.clock.answer(audio=True)
            self.clock.deliver()
            waited = self.clock.audio - self.clock.asked
            metrics.FIRST_AUDIO_SECONDS.labels("gateway").observe(waited, tracing.exemplar())
        else:
            metrics.AUDIO_LEAD_SECONDS.observe(self.clock.lead(self.answer.audio_seconds))
        samples, offset = len(audio) // 2, self.answer.samples
        self.answer.add_audio(samples, sample_rate, text)
        metrics.AUDIO_SECONDS.labels("gateway", "out").inc(samples / max(1, sample_rate))
        with self.clock.holding():
            await self._events.emit(AudioDelta(audio, sample_rate, offset, spoken=self.answer.marks[-1][1]))
