"""The pipeline of one turn: a question goes through the three functions at once and becomes an answer.

    audio → encode speech → embeddings → generate → tokens → synthesize → audio

Notable points:
- Wherever the speech pauses the question may be over: its answer is computed and held (see `attempt.py`). If the turn
  ends there the answer is released; if the user goes on it is dropped. What the language model has computed of the
  prompt is kept by it and used again.
- Pictures stand in front of the speech. One that comes while the user already speaks has the prompt started again,
  which costs a prefill of what was said so far and nothing after the end of the question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import grpc

from protos.parley.v1.language_model_pb2 import GenerateDone
from protos.parley.v1.tensor_pb2 import Tensor
from protos.parley.v1.usage_pb2 import FinishReason
from services.gateway.conversation.answer import Answer
from services.gateway.conversation.attempt import Attempt, Upstream
from services.gateway.conversation.early_answers import EarlyAnswers
from services.gateway.conversation.held_events import HeldEvents
from services.gateway.conversation.question import Question, to_wire
from services.gateway.events import Body, StateDecided, Transcript, Usage
from services.gateway.turn.clock import TurnClock
from services.gateway.turn.encode_speech import Tail, encode_speech
from services.gateway.turn.generate import Prompt, Resolve
from services.gateway.turn.input_log import InputLog
from services.gateway.turn.synthesize import Speech
from services.gateway.upstream.calls import CallContext, Calls
from services.rpc.errors import ServiceError, first_of
from services.telemetry import logs, metrics, tracing

log = logs.get_logger(__name__)


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
        on_state: Callable[[StateDecided, bool], None],
        on_speech: Callable[[], Awaitable[None]],
        early: EarlyAnswers,
    ):
        """`on_state` is called with the state, and whether that is final: the question is over. `on_speech` is called
        once all speech is encoded, before the client is told. `early`: may answers be computed at pauses?
        """
        self.question, self.answer, self.clock = question, answer, TurnClock()
        self.complete_probability: float | None = None  # of the question, at the pause at hand; None: not known
        self.state_known = asyncio.Event()  # also once it is known that it will never be
        self.heard = not question.spoken  # all of the speech is encoded, and the client has been told
        self._upstream = Upstream(calls, context, speech, resolve)
        self._read_prompt, self._events = read_prompt, events
        self._on_state, self._on_speech, self._early = on_state, on_speech, early
        self._only_listens = asyncio.Event()
        self._again = asyncio.Event()  # what is being answered is not what is asked
        self._prompt = Prompt()
        self._prompt_changed = True
        self._prompt_has_speech = False
        self._attempt: Attempt | None = None
        self._answered = -1  # the last pause that an attempt was made for
        self._check = -1  # the last place at which the state is to be read, whatever follows

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._answer())
                if self.question.spoken:
                    group.create_task(self._encode_speech())
        finally:
            self._early.give_back(self)
            self._early.end_waiting(self)

    async def run_again(self, calls: Calls) -> None:
        """On another release, after `run` has failed before it was known how the question is answered."""
        assert self.state is None
        self._upstream = replace(self._upstream, calls=calls)
        self.heard, self._prompt_changed, self._answered = not self.question.spoken, True, -1
        self.question.forget_embeddings()
        await self.run()

    # What the turn tells it.

    def pause(self) -> None:
        """The question may be over: its answer is computed, and held until that is known."""
        if self.question.pause() == self._check:  # more than the state is wanted now
            self._check, self._answered = -1, min(self._answered, self._check - 1)
            self.question.embeddings.wake()

    def check_state(self) -> None:
        """Reads the state of what was said so far, whatever follows."""
        self._check = self.question.pause()

    def audio_added(self) -> None:
        """The user speaks, or goes on."""
        self.complete_probability = None
        if self._attempt is not None and self._attempt.held and not self.question.over_at(self._attempt.tail):
            self._again.set()

    def only_listen(self) -> None:
        """The question is only to be understood; what has been computed for an answer is thrown away."""
        self._only_listens.set()
        self._again.set()

    def history_changed(self) -> None:
        """What comes before the question is not what it was."""
        self._prompt_changed = True
        self._again.set()

    def picture_added(self) -> None:
        """The question has one more picture."""
        if self._prompt_has_speech:
            self.history_changed()

    def release(self) -> None:
        """The turn is over: the prompt, which has the speech in it, is let go."""
        self._prompt = Prompt()
        if self._attempt is not None:
            self._attempt.forget()

    # What the turn asks it.

    @property
    def state(self) -> str | None:
        """None: it is not known whether the question is over, or the state is not read."""
        return self._given.state if self._given is not None else None

    @property
    def done(self) -> GenerateDone | None:
        return self._given.done if self._given is not None else None

    @property
    def spoken_by(self) -> str:
        """Weights of the speech decoder."""
        return self._given.spoken_by if self._given is not None else ""

    @property
    def complete(self) -> bool:
        """The answer has come to its end."""
        return self._given is not None and self._given.finished

    @property
    def _given(self) -> Attempt | None:
        """The attempt that the client is given."""
        return self._attempt if self._attempt is not None and self._attempt.released else None

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
            upstream, rate = self._upstream, question.sample_rate
            done = await encode_speech(question.audio, rate, upstream.calls, self, upstream.context, question.set_tail)
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

    # Answer.

    async def _answer(self) -> None:
        """Tries until an answer to the whole question has been given."""
        while not self._only_listens.is_set():
            self._again.clear()
            if self._prompt_changed:
                self._prompt_changed = False
                self._prompt = await self._read_prompt()
            self._attempt = self._new_attempt()
            if await self._try(self._attempt):
                break
            self._attempt = None
        self.state_known.set()

    def _new_attempt(self) -> Attempt:
        self._prompt = replace(self._prompt, parts=InputLog(), utterance=None, only_state=False)
        answer = Answer(self.answer.spoken, self.answer.listed)
        events = HeldEvents(self._events.emit)
        return Attempt(self._prompt, answer, self._upstream, events, self.clock, self._state_read)

    async def _try(self, attempt: Attempt) -> bool:
        """Returns whether it was the answer, and all of it has been told."""
        if self.question.ended.is_set():
            self._give(attempt)
        working = asyncio.create_task(self._work(attempt))
        try:
            if not attempt.released:
                await _done_or_set(working, self._again, self.question.ended)
            if not working.done() and not self._again.is_set() and self._answers_all(attempt):
                self._give(attempt)
            if attempt.released:
                await _done_or_set(working, self._only_listens)
            return self._was_given(attempt, working)
        finally:
            if attempt.held:
                metrics.DISCARDED_ANSWERS.inc()
            self._early.give_back(self)
            working.cancel()
            await asyncio.wait({working})

    def _was_given(self, attempt: Attempt, working: asyncio.Task) -> bool:
        """Raises what the attempt failed of, unless it was early: then there is another one."""
        error = working.exception() if working.done() else None
        if error is not None and (attempt.released or attempt.tail is None):
            raise error
        if error is not None:
            log.info("an early answer failed", error=str(first_of(error)))
        return working.done() and error is None and attempt.released

    def _answers_all(self, attempt: Attempt) -> bool:
        """What it answers is all of the question, which is over."""
        if not attempt.prompt.parts.closed:  # the rest of the question is written now
            return True
        if attempt.prompt.only_state or attempt.texts != len(self.question.texts):
            return False
        return attempt.tail is None or self.question.over_at(attempt.tail)

    def _give(self, attempt: Attempt) -> None:
        """The question is over: the attempt is its answer."""
        if attempt.released:
            return
        self._early.give_back(self)
        self._early.begin_waiting(self, self.clock)
        self.answer = attempt.answer
        if attempt.prompt.parts.closed:
            self._tell_prompt(attempt)
        attempt.release()
        if attempt.read is not None:
            self._tell_state(attempt.read)

    async def _work(self, attempt: Attempt) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_prompt(attempt))
            await attempt.run()

    async def _write_prompt(self, attempt: Attempt) -> None:
        question, prompt = self.question, attempt.prompt
        self._prompt_has_speech = False
        for part in prompt.opening:
            prompt.parts.append(part)
        await question.write_images(prompt.parts)
        self.clock.vision = max((image.seconds for image in question.encoded_images()), default=0.0)
        self._prompt_has_speech = True  # from here on, another picture starts the prompt again
        if question.spoken:
            attempt.tail = await question.write_speech(prompt.parts, self._is_due)
        if attempt.tail is None:
            await question.ended.wait()
        self._close_prompt(attempt)

    def _close_prompt(self, attempt: Attempt) -> None:
        """The language model has the question, or as much of it as there is."""
        question, prompt, tail = self.question, attempt.prompt, attempt.tail
        name = question.utterance
        if tail is not None:
            self._answered = tail.pause
            prompt.only_state = not self._may_answer(tail)
            name = None if prompt.only_state else question.name_with(tail)
        question.write_texts(prompt.parts)
        attempt.texts = len(question.texts)
        prompt.utterance = to_wire(name) if name is not None else None
        prompt.parts.close()
        if attempt.released:
            self._tell_prompt(attempt)

    def _tell_prompt(self, attempt: Attempt) -> None:
        """The question is over, and all of it is in the prompt."""
        if attempt.tail is not None:
            self.question.end_with(attempt.tail)
        self._events.on_prompt(attempt.prompt)

    def _is_due(self, tail: Tail) -> bool:
        """There is something to compute at this pause."""
        over = self.question.over_at(tail)
        if self.question.ended.is_set():
            return over
        return tail.pause > self._answered and (over or tail.pause == self._check)

    def _may_answer(self, tail: Tail) -> bool:
        """At this pause the answer is computed; otherwise only the state is read."""
        if self.question.ended.is_set():
            return True
        return tail.pause != self._check and self._early.take(self)

    def _state_read(self, attempt: Attempt) -> None:
        tail = attempt.tail
        if tail is not None and self.question.over_at(tail) and attempt.state != "nothing":
            self.complete_probability = attempt.complete
        if attempt.released:
            self._tell_state(attempt.read)
        else:
            self._on_state(attempt.read, False)

    def _tell_state(self, read: StateDecided) -> None:
        self._on_state(read, True)
        self.state_known.set()
        self._events.emit_now(read)


async def _done_or_set(task: asyncio.Task, *events: asyncio.Event) -> None:
    """Returns when the task is done or one of the events is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait({task, *waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for other in waiting:
            other.cancel()
