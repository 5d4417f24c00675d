"""Keeps a turn's question once it is complete, so that another connection can go on with its answer."""

from __future__ import annotations

import asyncio

from services.gateway.conversation.asked import Asked
from services.gateway.conversation.delivery import Delivery
from services.gateway.conversation.question import Question
from services.gateway.conversation.request import TurnRequest
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.turn.generate import Prompt
from services.gateway.upstream.calls import Calls
from services.rpc.errors import ServiceError
from services.telemetry import logs

log = logs.get_logger(__name__)


class QuestionKeeper:
    """Of one turn. It does nothing on a connection that cannot be resumed."""

    def __init__(self, turn_id: str, question: Question, embeddings: EmbeddingWriter, delivery: Delivery):
        self._turn_id, self._question = turn_id, question
        self._embeddings, self._delivery = embeddings, delivery
        self._keeping: asyncio.Task | None = None

    @property
    def begun(self) -> bool:
        return self._keeping is not None

    def keep(self, prompt: Prompt, question_id: str, request: TurnRequest, seed: int, calls: Calls) -> None:
        """`prompt`: complete. The last call counts."""
        if not self._delivery.resumable:
            return
        if self._keeping is not None:
            self._keeping.cancel()
        self._keeping = asyncio.create_task(self._keep(prompt, question_id, request, seed, calls))

    async def wait(self) -> None:
        """Returns when it is kept, or could not be."""
        if self._keeping is not None and not self._keeping.done():
            await asyncio.wait({self._keeping})

    async def _keep(self, prompt: Prompt, question_id: str, request: TurnRequest, seed: int, calls: Calls) -> None:
        try:
            services = ("llm_core",) if request.config.text_only else ("llm_core", "speech_decoder")
            weights = {service: (await calls.describe(service)).weights for service in services}
            asked = Asked.of(self._question, question_id, request, seed, prompt, weights)
            if self._question.utterance is not None and not request.config.turn_taking.items_first:
                self._embeddings.write(self._question.utterance, self._question.speech())
            await self._embeddings.wait()
            await self._delivery.keep_asked(self._turn_id, asked.model_dump_json().encode())
        except ServiceError as error:
            log.warning("a question was not kept: its answer cannot go on elsewhere", message=error.message)
