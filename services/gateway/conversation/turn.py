"""One turn, from the first sound or word of its question until its answer is over and written to the session."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import asdict, dataclass, replace
from typing import get_args

import grpc

from protos.parley.v1.language_model_pb2 import Sampling
from services.gateway.conversation.answer import Answer
from services.gateway.conversation.continuation import Continuation
from services.gateway.conversation.delivery import Delivery
from services.gateway.conversation.early_answers import EarlyAnswers
from services.gateway.conversation.handover import Handover
from services.gateway.conversation.interruption import PendingBargeIn
from services.gateway.conversation.outbox import Outbox
from services.gateway.conversation.part_encoder import PartEncoder
from services.gateway.conversation.pipeline import TurnEvents, TurnPipeline
from services.gateway.conversation.question import Question
from services.gateway.conversation.question_keeper import QuestionKeeper
from services.gateway.conversation.record import EmbeddingResolver, TurnRecord, question_item
from services.gateway.conversation.request import TurnRequest
from services.gateway.events import (
    AnswerBegun,
    AudioDelta,
    Body,
    Event,
    Failed,
    FinishReason,
    ItemCreated,
    TurnDone,
    Usage,
)
from services.gateway.events.items import Item, answer_item_id, played_text
from services.gateway.events.session import Session
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.media.images import EncodedImage, Images
from services.gateway.media.originals import Originals
from services.gateway.media.recordings import Recordings
from services.gateway.settings import ConversationSettings
from services.gateway.store.protocols import Store
from services.gateway.turn.generate import Prompt
from services.gateway.turn.synthesize import Speech
from services.gateway.upstream.calls import CallContext, Releases
from services.rpc import streams
from services.rpc.errors import ServiceError, first_of, status_of
from services.telemetry import logs, metrics, tracing
from services.telemetry.session_hash import session_hash

log = logs.get_logger(__name__)

for reason in get_args(FinishReason):
    metrics.TURNS.labels(reason)  # a series that begins at 0 shows its first increase


@dataclass(frozen=True)
class TurnTools:
    """What every turn of a connection is made with."""

    releases: Releases
    store: Store
    images: Images
    originals: Originals
    embeddings: EmbeddingWriter
    recordings: Recordings
    parts: PartEncoder
    outbox: Outbox
    delivery: Delivery
    early: EarlyAnswers
    settings: ConversationSettings


class Turn:
    """Made when a question begins; `task` ends when the turn is over and written.

    It decides when a turn starts and stops. `pipeline` does what happens within it, `record` what is kept of it.
    """

    def __init__(
        self,
        session: Session,
        question: Question,
        question_id: str,
        previous: Turn | None,
        barge_in: PendingBargeIn | None,
        *,
        request: TurnRequest,
        span: tracing.Span,
        tools: TurnTools,
        continuation: Continuation | None = None,
    ):
        """`previous`: the turn before. `barge_in`: this turn may interrupt it, as its own state will say.

        `span`: the first of the turn's trace, which it ends. `continuation`: of a turn that another connection began.
        """
        self.request, self.span = request, span
        config = request.config
        self.id = secrets.token_urlsafe(9) if continuation is None else continuation.told.turn_id
        self.question_id = question_id  # the client's name for the question
        making = Answer(spoken=not config.text_only, listed=config.turn_taking.items_first)
        self.question = question
        told = None if continuation is None else Answer.of(continuation.told, making.spoken, making.listed)
        self._told_answer = told  # of a turn that goes on, until it has come as far again
        self._settings, self._outbox = tools.settings, tools.outbox
        self._cancelled = self._by_speech = self._left = False
        self._continuation = continuation
        self._keeper = QuestionKeeper(self.id, question, tools.embeddings, tools.delivery)
        self._failure: Exception | None = None
        self._begun = False  # the client has been told that an answer comes
        self._committed = asyncio.Event()  # the question is an item, where it is one before it is answered
        self._unwanted = False  # the client has deleted the answer
        self._spoken: list[bytes] = []  # audio of the answer
        self._sampling = Sampling(**config.sampling.model_dump())
        if not self._sampling.seed:
            self._sampling.seed = secrets.randbits(31) + 1  # a retry must sample the same answer again
        self._tools = tools
        self._release = contextlib.ExitStack()  # that this turn is bound to, until it is over
        self.calls = self._release.enter_context(tools.releases.bind())
        context = CallContext(session.id, self.id, streams.deadline_in(tools.settings.max_turn_seconds))
        share = tools.settings.history_share
        self.record = TurnRecord(
            session.id, self.id, request, tools.store, tools.embeddings, tools.originals, self.calls, share
        )
        self._resolver = EmbeddingResolver(
            self.question, session.id, tools.images, tools.parts.held, tools.store, self.calls
        )
        self._handover = Handover(previous, barge_in, self.record, self._resolver)
        self.pipeline = TurnPipeline(
            self.question,
            making,
            self.calls,
            context,
            Speech(config.speaker, config.speaker_tokens, self._sampling.seed),
            self._read_prompt,
            self._resolver,
            TurnEvents(self._emit, self.emit_now, self._prompt_complete),
            self._handover.consider,
            self._speech_encoded,
            tools.early,
        )
        if not request.answers:
            self.pipeline.only_listen()
        if request.explicit:
            self._begin()
        self._work = asyncio.create_task(self._run_pipeline(session.id))
        self.task = asyncio.create_task(self._run(session.id))
        self.task.add_done_callback(lambda _: self.pipeline.clock.close())

    # What the conversation asks and tells it.

    @property
    def previous(self) -> Turn | None:
        """The turn before, as long as this one waits for it."""
        return self._handover.previous

    @property
    def asked(self) -> bool:
        """The question is complete."""
        return self.question.ended.is_set()

    @property
    def over(self) -> bool:
        return self.task.done() or self._cancelled or self._failure is not None

    @property
    def heard(self) -> bool:
        """What was said is known."""
        return self.pipeline.heard

    @property
    def answering(self) -> bool:
        return not self.over and self._state not in (None, "nothing")

    @property
    def being_played(self) -> bool:
        """As far as is known; what was cancelled the client drops."""
        return not self._outbox.silenced(self.id) and self.answer.being_played

    @property
    def undecided(self) -> bool:
        """It is not known yet whether it interrupts the answer before."""
        return not self.over and self._handover.undecided

    @property
    def answer(self) -> Answer:
        """As the client has been told it."""
        return self._told_answer or self.pipeline.answer

    @property
    def held_bytes(self) -> int:
        """Of audio and what was made of it."""
        return self.question.held_bytes + sum(map(len, self._spoken))

    @property
    def complete(self) -> float | None:
        """Probability that the question is, at the pause at hand; None: not known, or the model does not tell."""
        return self.pipeline.complete_probability

    def pause(self) -> None:
        """The question may be over: it is answered, but nothing of that is told, or kept, until it is."""
        if not self.over:
            self.pipeline.pause()

    def check_state(self) -> None:
        """Reads whether what was said so far is meant for us; an answer that it would interrupt waits for that."""
        if not self.over:
            self.pipeline.check_state()

    def add_audio(self, audio: bytes) -> None:
        """16-bit, at the model's rate. A question above the limit fails the turn."""
        try:
            self.question.add_audio(audio)
            if audio:
                self.pipeline.audio_added()
        except ServiceError as error:
            self.fail(error)

    def add_image(self, image: asyncio.Task[EncodedImage]) -> None:
        self.question.images.append(image)
        self.pipeline.picture_added()

    def ask(self, silent_seconds: float = 0.0) -> None:
        """The question is complete: answer it. A spoken one that is too short fails the turn.

        `silent_seconds`: since its last sound.
        """
        self.pipeline.clock.ask(silent_seconds)
        try:
            self.question.end()
        except ServiceError as error:
            self.fail(error)

    def ask_at_once(self) -> str:
        """The question is what the history holds. Returns the id of the turn."""
        self.ask()
        return self.id

    def mark_ended(self) -> None:
        """The question ended after the turn had failed or been cancelled."""
        assert self.over
        self.question.ended.set()

    def cancel(self, by_speech: bool = False) -> None:
        """Stops everything at once, also the answer that this turn may be interrupting.

        Nothing more of them is delivered but that they were cancelled.
        """
        self._handover.cancel()
        self.cancel_self(by_speech)

    def stop(self) -> None:
        """As `cancel`; nobody wants to know any more what was said, either."""
        self.cancel()
        if not self._work.cancelling():
            self._work.cancel()

    def cancel_self(self, by_speech: bool = False) -> None:
        """As `cancel`, but an answer that it may have been interrupting goes on.

        A question that is an item is still heard out: the next answer must know what was said.
        """
        self._outbox.silence(self.id)  # also what a finished turn has not delivered yet
        if not self.over:
            self._cancelled, self._by_speech = True, by_speech
            tracing.event("cancel", self.span)
            self.answer.expect_playback_report()
            if self.asked and not self.heard and self._question_first:
                self.pipeline.only_listen()
            else:
                self._work.cancel()

    def leave(self) -> None:
        """The client is lost. An answer may go on through another connection: nothing says that it has ended."""
        if self.over or self._work.done():
            return
        if not self._keeper.begun and self._continuation is None:
            self.stop()
        else:
            self._left = True
            self._work.cancel()

    def fail(self, error: Exception) -> None:
        if not self.over:
            self._failure = error
            self._outbox.silence(self.id)
            self._work.cancel()

    async def only_listen(self) -> None:
        """Another turn answers: this one only makes an item of its question."""
        self.request = replace(self.request, answers=False)
        self._handover.decide(True)  # what is not answered has no state
        self.pipeline.only_listen()
        await self.record.release()

    @property
    def failure(self) -> ServiceError | None:
        """Why the turn has failed."""
        if self._failure is None:
            return None
        status = status_of(self._failure)
        return ServiceError(status.code, status.message, status.retry_after)

    async def committed(self) -> bool:
        """Returns when its question is an item, or will never be one (False)."""
        waiting = asyncio.create_task(self._committed.wait())
        await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return self._committed.is_set()

    def drop_answer(self) -> None:
        """The client has deleted the answer before it was written."""
        self._unwanted = True

    def forget_previous(self) -> None:
        """The turn is over: what came before it may be let go."""
        self._handover.forget_previous()

    async def playback_report(self) -> None:
        """The answer was interrupted: waits a moment for the client to say how far it had played."""
        if not self._cancelled:  # else it has been expected since the cancellation
            self.answer.expect_playback_report()
        await self.answer.playback_report(self._settings.playback_report_seconds)

    def items(self) -> list[Item]:
        """The question, what was delivered of the answer, with how far it was played, and the calls that it made."""
        question = self._question_item()
        answer = self.answer.calls if self._unwanted else self.answer.items(self.id, whole=self._whole)
        return [*([question] if question is not None else []), *answer]

    def _question_item(self) -> Item | None:
        """None for a turn that answers what is in the history already."""
        return question_item(self.id, self.question) if self.question.has_content else None

    # Its life.

    async def _run(self, session_id: str) -> None:
        self._bind(session_id)
        with self._release:
            await self._live()

    async def _live(self) -> None:
        try:
            done, _ = await asyncio.wait({self._work}, timeout=self._settings.max_turn_seconds)
            if not done:
                message = f"the turn took longer than the limit of {self._settings.max_turn_seconds:g} s"
                self.fail(ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, message))
                await asyncio.wait({self._work})
        except asyncio.CancelledError:  # the process stops
            self.stop()
            await asyncio.wait({self._work})
        if not self._work.cancelled() and self._work.exception() is not None and not self._cancelled:
            self._failure = self._failure or first_of(self._work.exception())
            self._outbox.silence(self.id)
        for image in self.question.images:
            image.cancel()
        await (self._finish_left() if self._left else self._finish())
        self._keep_recording(answer_item_id(self.id), b"".join(self._spoken), self.answer.sample_rate)
        self._spoken.clear()
        self.question.release()
        self.pipeline.release()

    def _keep_recording(self, item_id: str, pcm: bytes, sample_rate: int) -> None:
        if self.request.kept and self.request.config.turn_taking.items_first:
            self._tools.recordings.keep(self.record.session_id, item_id, pcm, sample_rate)

    def _bind(self, session_id: str) -> None:
        """All that this task logs and traces is of the turn."""
        logs.bind(session_id, self.id)
        tracing.attach(self.span)
        tracing.annotate(session=session_hash(session_id), turn_id=self.id)

    async def _run_pipeline(self, session_id: str) -> None:
        self._bind(session_id)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            working = [
                group.create_task(self._answer(session_id)),
                group.create_task(self._handover.finish(self.pipeline.state_known)),
                group.create_task(self._commit()),
            ]
            await asyncio.wait(working, return_when=asyncio.FIRST_EXCEPTION)
            watching.cancel()

    @property
    def _question_first(self) -> bool:
        """The question becomes an item as soon as it is complete, and known to be one."""
        return self.request.config.turn_taking.items_first and self.request.kept and not self._handover.unmeant

    async def _commit(self) -> None:
        if self._question_first:
            await self.question.ended.wait()
            if self._handover.undecided:
                await self.pipeline.state_known.wait()
            item = self._question_item() if self._question_first else None
            if item is not None:
                self.emit_now(ItemCreated(item, await self._insert(item)))
        self._committed.set()

    async def _insert(self, item: Item) -> str:
        """Of a turn that goes on, the item may be there already. → id of the item before it."""
        try:
            return await self.record.insert(item)
        except ServiceError as error:
            if self._continuation is None or error.code != grpc.StatusCode.ALREADY_EXISTS:
                raise
        await self.record.replace(item)
        return ""

    async def _speech_encoded(self) -> None:
        """The question's item, where there is one already, has what was heard."""
        if self._question_first:
            await self._committed.wait()
        if self._question_first:
            item = self._question_item()
            await self.record.replace(item, self.question.speech())
            self._keep_recording(item.id, b"".join(self.question.audio.items), self.question.sample_rate)

    async def _answer(self, session_id: str) -> None:
        """By the release that the turn is bound to, or from its start by the current one where that has gone."""
        try:
            await self.pipeline.run()
        except ExceptionGroup as errors:
            status, releases = status_of(first_of(errors)), self._tools.releases
            lost = status.code == grpc.StatusCode.UNAVAILABLE and releases.current is not self.calls
            begun = self.pipeline.state is not None or self._continuation is not None
            if not lost or begun:  # the client may have had some of the answer
                raise
            log.warning("the release of this turn has gone: it starts again", message=status.message)
            self._bind_again(session_id)
            await self.pipeline.run_again(self.calls)
        if self._continuation is not None:
            self._continuation.check_end()

    def _bind_again(self, session_id: str) -> None:
        self._release.close()
        self.calls = self._release.enter_context(self._tools.releases.bind())
        self.record.use(self.calls)
        self._resolver.use(self.calls)
        again = (self._tools.images.encode_again(image, session_id, self.calls) for image in self.question.images)
        self.question.images[:] = map(asyncio.create_task, again)

    async def _watch(self) -> None:
        """Ends the turn when its question is no longer spoken, or its session has been taken over."""
        limit = self._settings.question_idle_seconds
        while True:
            await asyncio.sleep(min(0.5, limit / 4))
            self.record.check_lease()
            if self.question.idle_seconds > limit:
                message = (
                    f"no audio came for {self.question.idle_seconds:.0f} s and the question was not ended; "
                    "it was given up"
                )
                raise ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, message)

    # Going on elsewhere.

    async def _read_prompt(self) -> Prompt:
        if self._continuation is None:
            prompt = await self._handover.read_prompt(self._sampling)
            if not self.request.answers:  # meanwhile another turn has come to answer, which needs the lease
                await self.record.release()
            return prompt
        await self.record.take_lease(take=True)  # whoever answered in this session before has lost the client
        return self._continuation.prompt

    def _prompt_complete(self, prompt: Prompt) -> None:
        if self.request.kept and self._continuation is None:
            self._keeper.keep(prompt, self.question_id, self.request, self._sampling.seed, self.calls)

    async def _finish_left(self) -> None:
        self._handover.decide(False)
        await self._keeper.wait()
        await self.record.release()
        log.info("turn left: its client may go on with it")
        tracing.annotate(self.span, finish_reason="left")
        tracing.end(self.span)

    # The end.

    async def _finish(self) -> None:
        self._handover.decide(False)  # its state will never be known
        if self._cancelled:
            await self.playback_report()
        kept = ""
        try:
            kept = await self._write()
        except Exception as error:
            self._failure = self._failure or error
        finally:
            await self.record.release()  # before the client learns that the turn is over and asks again elsewhere
        self._report(kept)

    async def _write(self) -> str:
        """Writes question and answer to the session. Returns the answer as it is kept: what was played of it."""
        if not self.request.kept:
            return self.answer.text
        first = self._question_first
        if first and self.pipeline.state == "nothing" and not self.request.explicit and self.question.has_content:
            await self.record.replace(self._question_item().model_copy(update={"ignored": True}))
        if self._continuation is not None:
            await self.record.take_lease(take=True)
        if self.record.lease is None or self._state in (None, "nothing"):
            return ""
        items = self.items()
        answered = [item for item in items if item.role != "user"]
        if self._failure is not None and not answered:  # nothing was answered: the client asks again
            return ""
        speech = self.question.speech() if self.question.utterance is not None else None
        written = answered if first else items
        kept = first or self._keeper.begun or self._continuation is not None  # the speech is, already
        previous = await self.record.write(written, None if kept else speech, self.question.encoded_images())
        for item in written:
            self.emit_now(ItemCreated(item, previous))
            previous = item.id
        answer = next((item for item in answered if item.type == "message"), None)
        if answer is None:
            return ""
        if self.answer.played not in (None, answer.played):  # the client has said so meanwhile
            await self.record.set_played(answer.id, self.answer.played)
        return answer.text if self._whole else played_text(answer.text, answer.marks, answer.played)

    def _report(self, kept: str) -> None:
        """Tells how the turn ended: the client, the log and the metrics."""
        if self._failure is not None:
            status = status_of(self._failure)
            exc_info = self._failure if status.unexpected else None
            log.warning("turn failed", code=status.code.name, message=status.message, exc_info=exc_info)
            self.emit_now(failed(self._failure))
        self.pipeline.clock.end()
        reason, latency, usage = self._finish_reason, self.pipeline.clock.latency(), self.pipeline.usage
        metrics.TURNS.labels(reason).inc()
        if self.pipeline.state is not None:
            metrics.STATES.labels(self.pipeline.state).inc()
        weights = self.pipeline.weights
        log.info("turn over", reason=reason, first_audio=latency.first_audio, total=latency.total, weights=weights)
        self._end_trace(reason, usage)
        self.emit_now(TurnDone(reason, kept, latency, usage, self._by_speech, self.request.answers))

    def _end_trace(self, reason: str, usage: Usage) -> None:
        self.pipeline.clock.record(self.span)
        weights = ",".join(self.pipeline.weights)  # one name, or a turn has mixed releases
        state = self.pipeline.state or ""
        tracing.annotate(self.span, finish_reason=reason, state=state, weights=weights, **asdict(usage))
        if self._failure is not None:
            tracing.fail(self.span, status_of(self._failure).code.name)
        tracing.end(self.span)

    @property
    def _state(self) -> str | None:
        """As the client knows it; None: not decided."""
        told = self._continuation.told.state if self._continuation is not None else ""
        return self.pipeline.state or told or None

    @property
    def _finish_reason(self) -> str:
        if self._failure is not None:
            return "failed"
        return "cancelled" if self._cancelled else self.pipeline.finish_reason

    @property
    def _whole(self) -> bool:
        """The answer has come to its end, and will be played unless the client says otherwise."""
        return self.pipeline.complete and not self._cancelled and self._failure is None

    # Events.

    def emit_now(self, body: Body) -> None:
        if (new := self._new(body)) is not None:
            self._outbox.put_now(self._event(new))

    async def _emit(self, body: Body) -> None:
        """Of the answer."""
        await self._committed.wait()
        if not self._begun and self.request.config.turn_taking.items_first:
            self._begin()
        await self._keeper.wait()  # what the client has had can go on elsewhere
        if isinstance(body, AudioDelta):
            self._spoken.append(body.audio)
        if (new := self._new(body)) is not None:
            await self._outbox.put(self._event(new))

    def _new(self, body: Body) -> Body | None:
        """What the client has not been told of it."""
        if self._continuation is None:
            return body
        new = self._continuation.new(body)
        if not self._continuation.behind and self._told_answer is not None:
            self.pipeline.answer.go_on_from(self._told_answer)
            self._told_answer = None
        return new

    def _begin(self) -> None:
        self._begun = True
        self.emit_now(AnswerBegun(answer_item_id(self.id), dict(self.request.client or self.request.config.client)))

    def _event(self, body: Body) -> Event:
        return Event(body, self.id, self.question_id)


def failed(error: Exception) -> Failed:
    """What a client is told of an error."""
    status = status_of(error)
    return Failed(status.code.name, status.message, status.retry_after)
