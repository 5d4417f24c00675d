"""`parley.v1.LanguageModel` over the engine: the wire on one side, turns on the other."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import torch

from parley.checkpoints import load_model
from parley.config import STATES
from parley.models.parley import parts_of
from protos.parley.v1 import language_model_pb2 as pb
from protos.parley.v1 import language_model_pb2_grpc as rpcs
from services.engine.service import EngineService
from services.llm_core.engine import SERVICE, Engine
from services.llm_core.prompts import Piece, PromptReader
from services.llm_core.requests import Done, Event, Token, Turn
from services.llm_core.sampler import Sampling
from services.llm_core.state import Decision
from services.rpc import streams
from services.rpc.decorator import rpc

WIRE_STATES = {"speech": pb.STATE_SPEECH, "text": pb.STATE_TEXT, "nothing": pb.STATE_NOTHING}
WIRE_REASONS = {
    "stop": pb.GenerateDone.REASON_STOP,
    "length": pb.GenerateDone.REASON_LENGTH,
    "nothing": pb.GenerateDone.REASON_NOTHING,
}
WARM_UP_TOKENS = 4


class LlmCoreService(EngineService[Engine], rpcs.LanguageModelServicer):
    service = SERVICE

    async def warm_up(self) -> None:
        turn = self.engine.open("", "warm-up", self._reader.history([]), Sampling(max_tokens=WARM_UP_TOKENS))
        turn.append([Piece(self._reader.writer.text("hello"))])
        turn.respond(self._reader.respond())
        async for _ in turn.events():
            pass

    @rpc
    async def Generate(self, request_iterator, context) -> AsyncIterator[pb.GenerateResponse]:
        requests = streams.read(request_iterator, last="respond", idle=self.settings.idle_seconds)
        _, opening = await anext(requests)
        turn = self._open(opening)
        sequence = 0
        async with turn.fed_by(self._listen, requests, turn):
            async for event in turn.events():
                yield on_wire(event, sequence)
                sequence += 1

    def _open(self, opening: pb.GenerateOpen) -> Turn:
        left = streams.seconds_left(opening.deadline_ms)
        asked = opening.sampling
        return self.engine.open(
            opening.session_id,
            opening.turn_id,
            self._reader.history(opening.messages),
            Sampling(asked.temperature, asked.top_p, asked.top_k, asked.seed, asked.max_tokens, tuple(asked.stop)),
            None if left is None else time.monotonic() + left,
        )

    async def _listen(self, requests, turn: Turn) -> None:
        """Feeds the turn from the stream, up to `respond`. Raises what is wrong with it."""
        after_speech = False
        async for kind, message in requests:
            if kind == "part":
                turn.append(self._reader.part(message, after_speech))
                after_speech = message.WhichOneof("part") == "speech"
            else:
                turn.respond(self._reader.respond())

    def choose_parts(self) -> tuple[str, ...]:
        parts = parts_of(self.checkpoint.config)
        return tuple(part for part in ("language", "speech_prompt", "state_head") if part in parts)

    def load(self) -> Engine:
        settings = self.settings
        dtype = getattr(torch, settings.dtype)
        config = self.checkpoint.config
        model = load_model(self.checkpoint, self.parts, settings.device, dtype)
        if model.tokenizer is None:
            raise ValueError(f"{settings.checkpoint} has no tokenizer; the language service reads and writes words")
        self._reader = PromptReader(config.language, model.tokenizer, model.speech_prompt.vectors, dtype)
        writer = self._reader.writer
        return Engine(
            model.language,
            model.state_head,
            config.language,
            model.tokenizer,
            writer.stop_ids,
            writer.state_ids,
            settings,
        )


def on_wire(event: Event, sequence: int) -> pb.GenerateResponse:
    match event:
        case Decision():
            state = pb.StateDecision(state=WIRE_STATES[STATES[event.state]], probabilities=event.probabilities)
            return pb.GenerateResponse(sequence=sequence, state=state)
        case Token():
            return pb.GenerateResponse(sequence=sequence, token=pb.Token(id=event.id, text=event.text))
        case Done():
            done = pb.GenerateDone(
                reason=WIRE_REASONS[event.reason],
                text=event.text,
                prompt_tokens=event.prompt_tokens,
                cached_tokens=event.cached_tokens,
                answer_tokens=event.answer_tokens,
                prefill_seconds=event.prefill_seconds,
                decode_seconds=event.decode_seconds,
                first_token_seconds=event.first_token_seconds,
            )
            return pb.GenerateResponse(sequence=sequence, done=done)
