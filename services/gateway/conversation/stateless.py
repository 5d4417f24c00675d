"""One answer to a list of items, without a session: nothing is read from one and nothing is written to one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict

import grpc

from protos.parley.v1.language_model_pb2 import Sampling
from protos.parley.v1.tensor_pb2 import EmbeddingRef, Tensor
from services.gateway.conversation.answer import Answer
from services.gateway.conversation.early_answers import EarlyAnswers
from services.gateway.conversation.outbox import Outbox
from services.gateway.conversation.part_encoder import PartEncoder
from services.gateway.conversation.pipeline import TurnEvents, TurnPipeline
from services.gateway.conversation.prompt_reader import PromptReader
from services.gateway.conversation.question import Question
from services.gateway.conversation.tools import check_tools
from services.gateway.events import Body, Event, TurnDone
from services.gateway.events.items import Item, Ref
from services.gateway.events.session import SessionConfig
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.media.originals import Originals
from services.gateway.settings import ConversationSettings, MediaSettings
from services.gateway.store.protocols import Store
from services.gateway.turn.generate import Prompt
from services.gateway.turn.synthesize import Speech
from services.gateway.upstream.calls import CallContext, Calls
from services.rpc import streams
from services.rpc.errors import ServiceError, first_of, status_of
from services.telemetry import logs, metrics, tracing

log = logs.get_logger(__name__)


class StatelessTurn:
    """Bound to one release by its caller, who encodes pictures and speech with `parts` and then asks once."""

    def __init__(
        self,
        calls: Calls,
        store: Store,
        settings: ConversationSettings,
        media: MediaSettings,
        parts: PartEncoder | None = None,
        session_id: str = "",
    ):
        """`parts`: of a connection that has encoded some. `session_id`: under which the LLM core keeps its KV."""
        self.id = secrets.token_urlsafe(9)
        self.calls, self.session_id = calls, session_id
        self.parts = parts or PartEncoder(store.embeddings, settings, media)
        self._store, self._settings, self._media = store, settings, media
        self._outbox = Outbox(settings.max_unread_events)
        self._span = tracing.start_trace("turn")

    async def answer(self, items: Sequence[Item], config: SessionConfig) -> AsyncGenerator[Body, None]:
        """What the client is told, the last of it a `TurnDone`. Closing the generator cancels everything at once.

        `items`: oldest first; the last is the user's, or the output of a call. Of `config`, what is about the answer
        counts. Raises `ServiceError`: the turn has failed, also where it takes longer than a turn may.
        """
        check_tools(config, self._settings)
        pipeline = self._pipeline(items, config)
        pipeline.clock.ask()
        working = asyncio.create_task(self._run(pipeline), context=tracing.within(self._span))
        reason = "cancelled"
        try:
            while (event := await self._outbox.next()) is not None:
                yield event.body
            await working
            reason = pipeline.finish_reason
            pipeline.clock.end()
            yield TurnDone(reason, pipeline.answer.text, pipeline.clock.latency(), pipeline.usage)
        except Exception as error:
            reason = "failed"
            tracing.fail(self._span, status_of(error).code.name)
            raise
        finally:
            working.cancel()
            await asyncio.wait({working})
            self._report(pipeline, reason)

    def _pipeline(self, items: Sequence[Item], config: SessionConfig) -> TurnPipeline:
        question = Question(spoken=False, sample_rate=1, settings=self._media)
        question.end()
        sampling = Sampling(**config.sampling.model_dump())
        sampling.seed = sampling.seed or secrets.randbits(31) + 1  # a retry must sample the same answer again

        async def read_prompt() -> Prompt:
            return await self._read_prompt(items, config, sampling)

        return TurnPipeline(
            question,
            Answer(spoken=not config.text_only),
            self.calls,
            CallContext(self.session_id, self.id, streams.deadline_in(self._settings.max_turn_seconds)),
            Speech(config.speaker, config.speaker_tokens, sampling.seed),
            read_prompt,
            self._resolve,
            TurnEvents(self._emit, self._emit_now),
            lambda read, final: None,
            _nothing_more,
            EarlyAnswers(0),
        )

    async def _read_prompt(self, items: Sequence[Item], config: SessionConfig, sampling: Sampling) -> Prompt:
        """The user's last message is the question. Nothing is left out of the others: they were named one by one."""
        originals = Originals(self._store.embeddings, EmbeddingWriter(self._store.embeddings))
        reader = PromptReader(self.session_id, originals, self.calls, self._settings.history_share)
        prompt = await reader.read(items, config, sampling)
        if not prompt.opening:
            message = "the last item must be a message of the user, or the output of a call, with something in it"
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)
        prompt.max_history_tokens = 0
        return prompt

    async def _resolve(self, wanted: EmbeddingRef) -> Tensor | None:
        ref = Ref(weights=wanted.weights, hash=wanted.hash, length=wanted.length)
        held = self.parts.held.get(ref)
        if held is not None:
            return held
        kept = (await self._store.embeddings.get([ref])).get(ref)
        return None if kept is None else Tensor.FromString(kept)

    async def _run(self, pipeline: TurnPipeline) -> None:
        logs.bind(self.session_id, self.id)
        limit = self._settings.max_turn_seconds
        try:
            async with asyncio.timeout(limit):
                await pipeline.run()
        except TimeoutError:
            message = f"the answer took longer than the limit of {limit:g} s"
            raise ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, message) from None
        except ExceptionGroup as errors:
            raise first_of(errors) from errors
        finally:
            self._outbox.close()

    def _report(self, pipeline: TurnPipeline, reason: str) -> None:
        """Tells how the turn ended: the log, the metrics and its trace."""
        clock = pipeline.clock
        clock.end()
        clock.close()
        metrics.TURNS.labels(reason).inc()
        if pipeline.state is not None:
            metrics.STATES.labels(pipeline.state).inc()
        clock.record(self._span)
        ids = {"session_id": self.session_id, "turn_id": self.id}
        tracing.annotate(self._span, finish_reason=reason, **ids, **asdict(pipeline.usage))
        tracing.end(self._span)
        log.info("stateless turn over", reason=reason, total=clock.latency().total, weights=pipeline.weights, **ids)

    async def _emit(self, body: Body) -> None:
        await self._outbox.put(Event(body))

    def _emit_now(self, body: Body) -> None:
        self._outbox.put_now(Event(body))


async def _nothing_more() -> None:
    """No speech of the question is kept."""
