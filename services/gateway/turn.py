"""One turn: a question that is still being spoken, and its answer.

Notable points:
- Three stages run at once, each a stream to a service: listen (audio → vectors), think (history, picture, vectors →
  state, tokens) and speak (tokens → audio). Between them lie logs that only grow.
- A stage whose service dies is started again on another connection and reads its log from the start; what it had
  already answered is skipped. The client sees a pause.
- Pictures stand in front of the speech. One that comes while the user already speaks has the prompt begun again, which
  costs a prefill of what was said so far and nothing after the end of the question.
- Nothing is written to the session before the turn ends, and only under its lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import grpc

from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import (
    GenerateOpen,
    GenerateRequest,
    GenerateRespond,
    Part,
    Sampling,
    State,
    Token,
)
from protos.parley.v1.speech_decoder_pb2 import SynthesizeEnd, SynthesizeOpen, SynthesizeRequest, SynthesizeToken
from protos.parley.v1.speech_encoder_pb2 import EncodeSpeechEnd, EncodeSpeechOpen, EncodeSpeechRequest
from services.gateway.answer import Answer
from services.gateway.audio import SAMPLE_RATE
from services.gateway.clock import Clock
from services.gateway.embeddings import Embeddings
from services.gateway.history import KeptMessage, heard_text, newest_within, to_wire
from services.gateway.outbox import Outbox
from services.gateway.pictures import Encoded
from services.gateway.question import Question
from services.gateway.replay import Log
from services.gateway.session import Lease, Session, SessionStore
from services.gateway.settings import GatewaySettings
from services.gateway.upstream import ConnectionLostError, Upstream
from services.rpc import streams
from services.rpc.errors import ServiceError, status_of
from services.telemetry import logs, metrics

log = logs.get_logger(__name__)

Reason = wire.TurnDone.Reason


@dataclass(frozen=True)
class TurnConfig:
    """What a client configured for all its turns."""

    sampling: Sampling
    text_only: bool = False


class Turn:
    """Made when a question begins; `task` ends when the turn is over and kept."""

    def __init__(
        self,
        session: Session,
        config: TurnConfig,
        *,
        spoken: bool,
        question_id: str,
        previous: Turn | None,
        contests: bool = False,
        store: SessionStore,
        embeddings: Embeddings,
        upstream: Upstream,
        settings: GatewaySettings,
        outbox: Outbox,
    ):
        self.id = secrets.token_urlsafe(9)
        self.question_id = question_id  # the client's name for it
        self.session, self.config = session, config
        self.question = Question(spoken, settings)
        self.answer = Answer(spoken=not config.text_only)
        self.clock = Clock()
        self.interrupted = previous  # the turn before, as long as this one waits for it
        self.contested = previous if contests else None  # it is held until this turn's state is known
        self.kept = False  # written to the session
        self._store, self._embeddings, self._upstream = store, embeddings, upstream
        self._settings, self._outbox = settings, outbox
        self._deadline_ms = streams.deadline_in(settings.turn_seconds)
        self._sampling = Sampling()
        self._sampling.CopyFrom(config.sampling)
        if not self._sampling.seed:
            self._sampling.seed = secrets.randbits(31) + 1  # a retry must sample the same answer again

        self._prompt_has_speech = False
        self._prompt_changed = asyncio.Event()
        self._tokens: Log[Token] = Log()
        self._state: int | None = None
        self._state_known = asyncio.Event()
        self._played = asyncio.Event()  # the client said how far it played, after the answer was interrupted
        self._settled = False

        self._lease: Lease | None = None
        self._leases = contextlib.AsyncExitStack()
        self._cancelled = False
        self._failure: Exception | None = None
        self._work = asyncio.create_task(self._run_stages())
        self.task = asyncio.create_task(self._run())

    # What the conversation tells it.

    @property
    def asked(self) -> bool:
        """The question is over."""
        return self.question.ended.is_set()

    @property
    def over(self) -> bool:
        return self.task.done() or self._cancelled or self._failure is not None

    @property
    def answering(self) -> bool:
        return not self.over and self._state not in (None, State.STATE_NOTHING)

    def add_audio(self, audio: bytes) -> None:
        """16 kHz, 16-bit. A question above the limit fails the turn."""
        try:
            self.question.add_audio(audio)
        except ServiceError as error:
            self.fail(error)

    def add_picture(self, picture: asyncio.Task[Encoded]) -> None:
        self.question.pictures.append(picture)
        if self._prompt_has_speech:
            self._prompt_changed.set()

    def ask(self) -> None:
        """The question is over: answer it. Too short a spoken one fails the turn."""
        self.clock.asked = time.monotonic()
        try:
            self.question.end()
        except ServiceError as error:
            self.fail(error)

    def ask_nothing(self) -> None:
        """The question ended after the turn had failed or been cancelled."""
        assert self.over
        self.question.ended.set()

    def set_played(self, samples: int) -> None:
        self.answer.played = max(self.answer.played or 0, samples)
        self._played.set()

    async def settle(self) -> None:
        """The answer was interrupted: waits a moment for the client to say how far it had played."""
        if self._settled or not self.answer.being_played:
            return
        self._settled = True
        if not self._cancelled:
            self._played.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._played.wait(), self._settings.played_grace_seconds)

    def cancel(self) -> None:
        """Stops everything at once, also the answer that this turn may be interrupting.

        Nothing more of them is delivered but that they were cancelled.
        """
        self.contested = None
        if self.interrupted is not None:  # also where this turn has just found nothing to answer and let it go on
            self.interrupted.cancel()
        self.withdraw()

    def withdraw(self) -> None:
        """As `cancel`, but an answer that it may have been interrupting goes on."""
        if not self.over:
            self._cancelled = True
            self._played.clear()
            self._outbox.silence(self.id)
            self._work.cancel()

    def fail(self, error: Exception) -> None:
        if not self.over:
            self._failure = error
            self._outbox.silence(self.id)
            self._work.cancel()

    # Its life.

    async def _run(self) -> None:
        logs.bind(self.session.id, self.id)
        try:
            done, _ = await asyncio.wait({self._work}, timeout=self._settings.turn_seconds)
            if not done:
                message = f"the turn took longer than the limit of {self._settings.turn_seconds:g} s"
                self.fail(ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, message))
                await asyncio.wait({self._work})
        except asyncio.CancelledError:  # the process stops
            self.cancel()
            await asyncio.wait({self._work})
        if not self._work.cancelled() and self._work.exception() is not None and not self._cancelled:
            self._failure = self._failure or _first_of(self._work.exception())
            self._outbox.silence(self.id)
        for picture in self.question.pictures:
            picture.cancel()
        await self._finish()

    async def _run_stages(self) -> None:
        logs.bind(self.session.id, self.id)
        async with asyncio.TaskGroup() as stages:
            watching = stages.create_task(self._watch())
            working = [stages.create_task(stage()) for stage in (self._think, self._speak, self._inherit)]
            if self.question.spoken:
                working.append(stages.create_task(self._listen()))
            await asyncio.wait(working, return_when=asyncio.FIRST_EXCEPTION)
            watching.cancel()

    async def _watch(self) -> None:
        """Ends the turn when its question is no longer spoken, or its session has been taken over."""
        while True:
            await asyncio.sleep(min(0.5, self._settings.question_idle_seconds / 4))
            if self._lease is not None and self._lease.lost.is_set():
                message = "another connection took over this session while the turn ran"
                raise ServiceError(grpc.StatusCode.ABORTED, message)
            idle = self.question.idle_seconds
            if idle > self._settings.question_idle_seconds:
                message = f"no audio came for {idle:.0f} s and the question was not ended; it was given up"
                raise ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, message)

    @property
    def _seconds_left(self) -> float:
        return max(0.0, self._deadline_ms / 1000 - time.time())

    def _stream(self, service: str, requests: AsyncGenerator):
        return self._upstream.stream(
            service, requests, session_id=self.session.id, turn_id=self.id, timeout=self._seconds_left
        )

    # Listen: audio → vectors.

    async def _listen(self) -> None:
        await self._upstream.until_done("speech", self._listen_once)
        self.clock.vectors = time.monotonic()
        if not self.question.vector_count:
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, "the audio is too short to hear anything in it")
        self.question.vectors.close()
        self.tell(heard=wire.Transcript(text=self.question.transcript, final=True))

    async def _listen_once(self) -> None:
        question = self.question
        skip = question.vector_count  # an earlier attempt had these
        async with self._stream("speech", self._listen_requests()) as answers:
            async for answer in answers:
                if answer.WhichOneof("message") == "done":
                    question.transcript = answer.done.transcript or question.transcript
                    return
                count = answer.chunk.embeddings.shape[0] if answer.chunk.embeddings.shape else 0
                if count > skip:
                    question.add_vectors(answer.chunk.embeddings, skip)
                skip = max(0, skip - count)
                if len(answer.chunk.transcript) > len(question.transcript):
                    question.transcript = answer.chunk.transcript
                    self.tell(heard=wire.Transcript(text=question.transcript))
        raise ConnectionLostError("speech: the stream ended early")

    async def _listen_requests(self) -> AsyncGenerator[EncodeSpeechRequest, None]:
        yield EncodeSpeechRequest(
            open=EncodeSpeechOpen(
                session_id=self.session.id, turn_id=self.id, deadline_ms=self._deadline_ms, sample_rate=SAMPLE_RATE
            )
        )
        async for audio in self.question.audio.read():
            yield EncodeSpeechRequest(audio=audio)
        yield EncodeSpeechRequest(end=EncodeSpeechEnd())

    # Think: history, pictures, vectors, text → state, tokens.

    async def _think(self) -> None:
        messages = await self._admit()
        while True:
            attempt = asyncio.create_task(
                self._upstream.until_done("language", lambda: self._think_once(messages)), name="language attempt"
            )
            changed = asyncio.create_task(self._prompt_changed.wait())
            try:
                await asyncio.wait({attempt, changed}, return_when=asyncio.FIRST_COMPLETED)
                if attempt.done():
                    attempt.result()
                    return
                self._prompt_changed.clear()
            finally:
                changed.cancel()
                attempt.cancel()
                await asyncio.wait({attempt})

    async def _admit(self) -> list:
        """Waits for the turn before, takes the lease and reads the history, as it was heard.

        While it is not known whether this turn interrupts the one before, that keeps the lease and goes on.
        """
        contested = self.contested
        if contested is None:
            await self._take_lease()
        else:
            await contested.settle()
        kept = await self._store.history(self.session.id)
        if contested is not None and all(message.turn_id != contested.id for message in kept):
            kept += await contested.as_heard()
        messages = newest_within(kept, self._settings.history_tokens)
        wanted = {(part.kind, part.hash) for message in messages for part in message.parts if part.hash}
        found = await self._embeddings.get(wanted)
        if len(found) < len(wanted):
            log.info("pictures or speech of earlier turns are no longer kept", missing=len(wanted) - len(found))
        return to_wire(messages, self.session.config.instructions, found)

    async def _take_lease(self) -> None:
        if self.interrupted is not None:
            await asyncio.wait({self.interrupted.task})
            await self.interrupted.settle()
            self.interrupted = None
        self._lease = await self._leases.enter_async_context(self._store.lease(self.session.id))

    async def _inherit(self) -> None:
        """Takes the lease of the answer that this turn has turned out to interrupt."""
        if self.contested is not None:
            await self._state_known.wait()
            if self._state != State.STATE_NOTHING:
                await self._take_lease()

    def _decide_contest(self) -> None:
        """The state is known, or will never be: the answer before ends or goes on."""
        contested, self.contested = self.contested, None
        if contested is not None:
            if self._state in (None, State.STATE_NOTHING):
                self._outbox.release(contested.id)
            else:
                contested.cancel()

    async def _think_once(self, messages: list) -> None:
        replayed = 0
        async with self._stream("language", self._think_requests(messages)) as answers:
            async for answer in answers:
                kind = answer.WhichOneof("message")
                if kind == "state" and self._state is None:
                    self._state = answer.state.state
                    self._decide_contest()
                    self._state_known.set()
                    self.tell(state=answer.state)
                elif kind == "token":
                    if replayed < len(self._tokens.items):
                        if self._tokens.items[replayed].id != answer.token.id:
                            message = (
                                "the answer was cut off by a lost connection and could not be continued; ask again"
                            )
                            raise ServiceError(grpc.StatusCode.ABORTED, message, retry_after=0.5)
                    else:
                        await self._on_token(answer.token)
                    replayed += 1
                elif kind == "done":
                    self._tokens.close()
                    self._state_known.set()
                    return
        raise ConnectionLostError("language: the stream ended early")

    async def _on_token(self, token: Token) -> None:
        self.clock.token = self.clock.token or time.monotonic()
        self._tokens.append(token)
        if token.text:
            self.answer.text += token.text
            await self._outbox.put(self._event(text=wire.TextDelta(text=token.text)))

    async def _think_requests(self, messages: list) -> AsyncGenerator[GenerateRequest, None]:
        yield GenerateRequest(
            open=GenerateOpen(
                session_id=self.session.id,
                turn_id=self.id,
                deadline_ms=self._deadline_ms,
                messages=messages,
                sampling=self._sampling,
            )
        )
        self._prompt_has_speech = False
        sent = 0
        while sent < len(self.question.pictures):
            encoded = await asyncio.shield(self.question.pictures[sent])  # it outlives an attempt that is given up
            self.clock.vision = max(self.clock.vision, encoded.seconds)
            yield GenerateRequest(part=Part(image=encoded.embeddings))
            sent += 1
        self._prompt_has_speech = True  # from here on, another picture begins the prompt again
        if self.question.spoken:
            async for vectors in self.question.vectors.read():
                yield GenerateRequest(part=Part(speech=vectors))
        await self.question.ended.wait()
        for text in self.question.texts:
            yield GenerateRequest(part=Part(text=text))
        yield GenerateRequest(respond=GenerateRespond())

    # Speak: tokens → audio.

    async def _speak(self) -> None:
        await self._state_known.wait()
        if self._state != State.STATE_NOTHING and not self.config.text_only:
            await self._upstream.until_done("voice", self._speak_once)

    async def _speak_once(self) -> None:
        at = 0
        async with self._stream("voice", self._speak_requests()) as answers:
            async for answer in answers:
                if answer.WhichOneof("message") == "done":
                    self.clock.decoder = answer.done.first_audio_seconds
                    return
                samples = len(answer.chunk.audio) // 2
                skip = min(samples, max(0, self.answer.samples - at))  # an earlier attempt had these
                at += samples
                if samples > skip:
                    await self._on_audio(answer.chunk, skip)
        raise ConnectionLostError("voice: the stream ended early")

    async def _on_audio(self, chunk, skip: int) -> None:
        answer = self.answer
        if not self.clock.audio:
            self.clock.audio = time.monotonic()
            metrics.FIRST_AUDIO_SECONDS.labels("gateway").observe(self.clock.audio - self.clock.asked)
        delta = wire.AudioDelta(audio=chunk.audio[skip * 2 :], sample_rate=chunk.sample_rate, offset=answer.samples)
        samples = len(delta.audio) // 2
        answer.add_audio(samples, chunk.sample_rate, chunk.text)
        metrics.AUDIO_SECONDS.labels("gateway", "out").inc(samples / max(1, chunk.sample_rate))
        await self._outbox.put(self._event(audio=delta))

    async def _speak_requests(self) -> AsyncGenerator[SynthesizeRequest, None]:
        yield SynthesizeRequest(
            open=SynthesizeOpen(
                session_id=self.session.id,
                turn_id=self.id,
                deadline_ms=self._deadline_ms,
                voice=self.session.config.voice,
                seed=self._sampling.seed,
            )
        )
        async for token in self._tokens.read():
            yield SynthesizeRequest(token=SynthesizeToken(id=token.id, text=token.text))
        yield SynthesizeRequest(end=SynthesizeEnd())

    # The end.

    async def _finish(self) -> None:
        self._decide_contest()
        if self._cancelled:
            await self.settle()
        kept_text = ""
        try:
            kept_text = await self._keep()
        except Exception as error:
            self._failure = self._failure or error
        finally:
            await self._leases.aclose()  # before the client hears that the turn is over and asks again elsewhere
        if self._failure is not None:
            status = status_of(self._failure)
            log.warning("turn failed", code=status.code.name, message=status.message, exc_info=status.unexpected)
            self.tell(error=error_event(self._failure))
        reason = self._reason()
        metrics.TURNS.labels(Reason.Name(reason).removeprefix("REASON_").lower()).inc()
        if self._state:
            metrics.STATES.labels(State.Name(self._state).removeprefix("STATE_").lower()).inc()
        latency = self.clock.latency()
        log.info("turn over", reason=Reason.Name(reason), first_audio=latency.first_audio, total=latency.total)
        self.tell(done=wire.TurnDone(reason=reason, text=kept_text, latency=latency))

    def _reason(self) -> int:
        if self._failure is not None:
            return Reason.REASON_FAILED
        if self._cancelled:
            return Reason.REASON_CANCELLED
        return Reason.REASON_NOTHING if self._state == State.STATE_NOTHING else Reason.REASON_COMPLETE

    async def _keep(self) -> str:
        """Writes question and answer to the session. Returns the answer as it is kept: what was heard of it."""
        if self._lease is None or self._state in (None, State.STATE_NOTHING):
            return ""
        messages = await self.as_heard()
        if self._failure is not None and len(messages) == 1:  # nothing was answered: the client asks again
            return ""
        await self._store.append(self._lease, messages)
        self.kept = True
        if len(messages) == 1:
            return ""
        return self.answer.text if self._whole else heard_text(self.answer.text, messages[1].marks, messages[1].heard)

    @property
    def _whole(self) -> bool:
        """The answer has come to its end, and will be heard unless the client says otherwise."""
        return self._tokens.closed and not self._cancelled and self._failure is None

    async def as_heard(self) -> list[KeptMessage]:
        """The question and, if any of it was delivered, the answer with how far it was heard."""
        question = KeptMessage(role="user", turn_id=self.id, parts=await self.question.keep(self._embeddings))
        answer = self.answer.kept(self.id, self._whole)
        return [question] if answer is None else [question, answer]

    def tell(self, **event) -> None:
        self._outbox.put_now(self._event(**event))

    def _event(self, **event) -> wire.ServerEvent:
        return wire.ServerEvent(turn_id=self.id, question_id=self.question_id, **event)


def error_event(error: Exception) -> wire.ErrorEvent:
    status = status_of(error)
    return wire.ErrorEvent(code=status.code.name, message=status.message, retry_after=status.retry_after)


def _first_of(error: BaseException) -> Exception:
    """What a group of stages failed of."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, Exception) else RuntimeError(f"the turn was stopped by {type(error).__name__}")
