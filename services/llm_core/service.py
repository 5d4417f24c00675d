"""`parley.v1.LanguageModel` over the engine: messages of the wire on one side, generation requests on the other."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import torch

from parley.checkpoints import load_model
from parley.config import STATES
from parley.models.parley import Parley, parts_of
from protos.parley.v1 import language_model_pb2 as pb
from protos.parley.v1 import language_model_pb2_grpc as rpcs
from protos.parley.v1 import tensor_pb2, usage_pb2
from protos.parley.v1.model_info_pb2 import ModelInfo
from services.engine.service import EngineService
from services.llm_core.answer_text import AnswerFormat
from services.llm_core.backends import choose_backend
from services.llm_core.encoder_cache import EncoderCache
from services.llm_core.engine import LanguageEngine
from services.llm_core.pieces import Piece, Placeholder
from services.llm_core.prompt_stream import TEXT_COST, PromptStream, in_thread_if_large
from services.llm_core.prompts import PromptReader
from services.llm_core.requests import Done, Event, GenerationRequest, Missing, Token
from services.llm_core.sampler import Sampling
from services.llm_core.settings import SERVICE, LlmCoreSettings
from services.llm_core.state import Decision
from services.llm_core.text_limit import TextLimit, newest_within
from services.llm_core.tools import CallRules, read_tools
from services.llm_core.torch_engine import TorchEngine
from services.rpc import streams
from services.rpc.decorator import rpc
from services.telemetry import logs, tracing

WIRE_STATES = {"speech": pb.STATE_SPEECH, "text": pb.STATE_TEXT, "nothing": pb.STATE_NOTHING}
WIRE_REASONS = {
    "stop": usage_pb2.FINISH_REASON_STOP,
    "length": usage_pb2.FINISH_REASON_LENGTH,
    "nothing": usage_pb2.FINISH_REASON_NOTHING,
}
PARTS = ("language", "speech_prompt", "state_head")
OPTIONAL_PARTS = ("end_of_turn_head",)
WARM_UP_TOKENS = 4

log = logs.get_logger(__name__)


class LlmCoreService(EngineService[LanguageEngine], rpcs.LanguageModelServicer):
    service = SERVICE
    settings: LlmCoreSettings

    async def warm_up(self) -> None:
        prompt, _ = self._reader.history([])
        request = self.engine.open("", "warm-up", prompt, Sampling(max_tokens=WARM_UP_TOKENS))
        request.append([Piece(self._reader.writer.text("hello"))])
        request.respond(self._reader.closing())
        async for _ in request.events():
            pass

    @rpc
    async def Generate(self, request_iterator, context) -> AsyncIterator[pb.GenerateResponse]:
        messages = streams.read(request_iterator, last="respond", idle=self.settings.idle_seconds, stop_at_last=False)
        _, opening = await anext(messages)
        limit = TextLimit(self.engine.max_length)
        history, dropped, calls = await self._read_opening(opening, limit)
        request = self._new_request(opening, calls)
        prompt = PromptStream(request, self._reader, self._encoder_cache, limit)
        sequence = 0
        async with request.fed_by(self._feed, prompt, history, messages):
            async for event in request.events(streams.HEARTBEAT_SECONDS):
                if event is None:
                    yield pb.GenerateResponse()
                    continue
                if isinstance(event, Done):
                    self._annotate(event)
                yield on_wire(event, sequence, dropped, self.checkpoint.fingerprint)
                sequence += 1

    async def _read_opening(
        self, opening: pb.GenerateOpen, limit: TextLimit
    ) -> tuple[list[Piece | Placeholder], int, CallRules | None]:
        """(the beginning of the prompt, number of messages left out, how functions may be called)."""
        kept = newest_within(opening.messages, opening.max_history_tokens)
        size = sum(each.ByteSize() for each in (*kept, *opening.tools))
        limit.add(size)
        tools, calls = read_tools(opening, self._reader.writer)
        history, dropped = await in_thread_if_large(
            TEXT_COST * size, self._reader.history, kept, opening.max_history_tokens, tools
        )
        return history, dropped + len(opening.messages) - len(kept), calls

    def _annotate(self, done: Done) -> None:
        """Describes the call in its trace."""
        tracing.annotate(
            weights=self.checkpoint.fingerprint,
            finish_reason=done.finish_reason,
            prompt_tokens=done.prompt_tokens,
            cached_tokens=done.cached_tokens,
            answer_tokens=done.answer_tokens,
            prefill_seconds=done.prefill_seconds,
            decode_seconds=done.decode_seconds,
        )

    def _new_request(self, opening: pb.GenerateOpen, calls: CallRules | None) -> GenerationRequest:
        left = streams.seconds_left(opening.deadline_ms)
        asked = opening.sampling
        return self.engine.open(
            opening.session_id,
            opening.turn_id,
            [],
            Sampling(asked.temperature, asked.top_p, asked.top_k, asked.seed, asked.max_tokens, tuple(asked.stop)),
            None if left is None else time.monotonic() + left,
            calls,
            self._beginning(opening, calls),
        )

    def _beginning(self, opening: pb.GenerateOpen, calls: CallRules | None) -> tuple[int, ...]:
        """Raises `ValueError` for what cannot be the beginning of an answer."""
        size = self.checkpoint.config.language.vocab_size
        if opening.beginning and calls is not None:
            raise ValueError("an answer that may call functions cannot be given its beginning; generate it anew")
        if not all(0 <= token < size for token in opening.beginning):
            raise ValueError(f"the beginning holds an id that is no token; ids are 0 to {size - 1}")
        return tuple(opening.beginning)

    async def _feed(self, prompt: PromptStream, history: list, messages: AsyncIterator) -> None:
        """Gives the request its prompt from the stream, up to the last of it. Raises what is wrong with it."""
        prompt.append(history)
        async for kind, message in messages:
            await prompt.receive(kind, message)
            if prompt.complete:
                return

    def choose_parts(self) -> tuple[str, ...]:
        possible = parts_of(self.checkpoint.config)
        optional = (part for part in OPTIONAL_PARTS if part in self.checkpoint.parts)
        return tuple(part for part in (*PARTS, *optional) if part in possible)

    def load(self) -> LanguageEngine:
        settings = self.settings
        by_vllm = choose_backend(settings) == "vllm"
        parts = [part for part in self.parts if not (by_vllm and part == "language")]
        dtype = getattr(torch, settings.dtype)
        model = load_model(self.checkpoint, parts, "cpu" if by_vllm else settings.device, dtype)
        if model.tokenizer is None:
            raise ValueError(f"{settings.checkpoint} has no tokenizer; the LLM core reads and writes text")
        config = self.checkpoint.config.language
        self._reader = PromptReader(config, model.tokenizer, model.speech_prompt.vectors, dtype)
        engine = self._vllm_engine(model) if by_vllm else self._torch_engine(model)
        log.info("limits", backend="vllm" if by_vllm else "torch", **asdict(engine.limits))
        self._encoder_cache = EncoderCache(engine.limits.encoder_cache_bytes)
        return engine

    def _torch_engine(self, model: Parley) -> LanguageEngine:
        config, state_ids = self.checkpoint.config.language, self._reader.writer.state_ids
        answers = self._answer_format(model)
        return TorchEngine(
            model.language, model.state_head, config, answers, state_ids, self.settings, model.end_of_turn_head
        )

    def _vllm_engine(self, model: Parley) -> LanguageEngine:
        # Installed where it is used.
        from services.llm_core.vllm_backend.engine import VllmEngine
        from services.llm_core.vllm_backend.model_folder import write_config, write_weights

        config, state_ids = self.checkpoint.config.language, self._reader.writer.state_ids
        heads = [head for head in (model.state_head, model.end_of_turn_head) if head is not None]
        rows = torch.cat([head.weight.detach() for head in heads]) if heads else None
        with tempfile.TemporaryDirectory(prefix="parley-vllm-") as folder:
            write_config(config, 0 if rows is None else len(rows), Path(folder))
            write_weights(self.checkpoint, rows, Path(folder))
            return VllmEngine(Path(folder), heads, config, self._answer_format(model), state_ids, self.settings)

    def _answer_format(self, model: Parley) -> AnswerFormat:
        writer = self._reader.writer
        tags = {number: tag for tag, number in writer.tag_ids.items()}
        return AnswerFormat(model.tokenizer, writer.stop_ids, tags)

    def describe(self) -> ModelInfo:
        info = super().describe()
        info.context_length = self.engine.max_length
        info.max_answer_tokens = self.settings.max_tokens
        info.slots = self.engine.limits.num_slots
        return info


def on_wire(event: Event, sequence: int, dropped_messages: int, weights: str) -> pb.GenerateResponse:
    match event:
        case Missing():
            refs = [tensor_pb2.EmbeddingRef(weights=r.weights, hash=r.hash, length=r.length) for r in event.refs]
            return pb.GenerateResponse(sequence=sequence, missing=pb.Missing(refs=refs))
        case Decision():
            wire_state = WIRE_STATES[STATES[event.state]]
            state = pb.StateDecision(state=wire_state, probabilities=event.probabilities, complete=event.complete)
            return pb.GenerateResponse(sequence=sequence, state=state)
        case Token():
            token = pb.Token(id=event.id, text=event.text, call=event.call, call_done=event.call_done)
            return pb.GenerateResponse(sequence=sequence, token=token)
        case Done():
            return pb.GenerateResponse(sequence=sequence, done=_done(event, dropped_messages, weights))


def _done(event: Done, dropped_messages: int, weights: str) -> pb.GenerateDone:
    return pb.GenerateDone(
        finish_reason=WIRE_REASONS[event.finish_reason],
        text=event.text,
        usage=usage_pb2.Usage(
            prompt_tokens=event.prompt_tokens,
            cached_tokens=event.cached_tokens,
            answer_tokens=event.answer_tokens,
        ),
        prefill_seconds=event.prefill_seconds,
        decode_seconds=event.decode_seconds,
        first_token_seconds=event.first_token_seconds,
        dropped_messages=dropped_messages,
        weights=weights,
    )
