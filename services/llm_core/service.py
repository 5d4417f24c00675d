"""`parley.v1.LanguageModel` over the engine: the wire on one side, turns on the other."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import torch

from parley.checkpoint import read_manifest
from parley.config import STATES
from parley.model import Parley, parts_of
from protos.parley.v1 import language_pb2 as pb
from protos.parley.v1 import language_pb2_grpc as rpcs
from services.common import streams
from services.common.rpc import rpc
from services.llm_core.engine import SERVICE, Engine
from services.llm_core.prompts import Piece, PromptReader
from services.llm_core.sampler import Sampling
from services.llm_core.settings import LanguageSettings
from services.llm_core.state import Decision
from services.llm_core.turns import Done, Event, Token, Turn

WIRE_STATES = {"speech": pb.STATE_SPEECH, "text": pb.STATE_TEXT, "nothing": pb.STATE_NOTHING}
WIRE_REASONS = {
    "stop": pb.GenerateDone.REASON_STOP,
    "length": pb.GenerateDone.REASON_LENGTH,
    "nothing": pb.GenerateDone.REASON_NOTHING,
}
WARM_UP_TOKENS = 4


class LanguageService(rpcs.LanguageModelServicer):
    service = SERVICE

    def __init__(self, settings: LanguageSettings):
        self.settings = settings
        self._engine: Engine | None = None
        self._reader: PromptReader | None = None

    async def start(self) -> None:
        """Loads the model, starts the engine and lets it answer once."""
        await asyncio.to_thread(self._load)
        self._engine.start()
        sampling = Sampling(max_tokens=WARM_UP_TOKENS)
        turn = self._engine.open("", "warm-up", self._reader.history([]), sampling)
        turn.append([Piece(self._reader.writer.text("hello"))])
        turn.respond(self._reader.respond())
        async for _ in turn.events():
            pass

    async def stop(self) -> None:
        if self._engine is not None:
            await asyncio.to_thread(self._engine.stop)

    def check_health(self) -> None:
        """Raises once the engine can no longer answer."""
        if not self._engine.alive:
            raise RuntimeError("the engine has stopped working")

    @rpc
    async def Generate(self, request_iterator, context) -> AsyncIterator[pb.GenerateResponse]:
        requests = streams.read(request_iterator, last="respond", idle=self.settings.idle_seconds)
        try:
            _, opening = await anext(requests)
            async with contextlib.aclosing(self._answer(requests, self._open(opening))) as answers:
                async for answer in answers:
                    yield answer
        except Exception:
            await streams.drain(request_iterator)
            raise

    async def _answer(self, requests, turn: Turn) -> AsyncIterator[pb.GenerateResponse]:
        listening = asyncio.create_task(self._listen(requests, turn))
        sequence = 0
        try:
            async for event in turn.events():
                yield on_wire(event, sequence)
                sequence += 1
        finally:
            turn.cancel()
            listening.cancel()
            await asyncio.wait([listening])

    def _open(self, opening: pb.GenerateOpen) -> Turn:
        left = streams.seconds_left(opening.deadline_ms)
        asked = opening.sampling
        return self._engine.open(
            opening.session_id,
            opening.turn_id,
            self._reader.history(opening.messages),
            Sampling(asked.temperature, asked.top_p, asked.top_k, asked.seed, asked.max_tokens, tuple(asked.stop)),
            None if left is None else time.monotonic() + left,
        )

    async def _listen(self, requests, turn: Turn) -> None:
        """Feeds the turn from the stream, up to `respond`. What goes wrong here ends the turn's events."""
        after_speech = False
        try:
            async for kind, message in requests:
                if kind == "part":
                    turn.append(self._reader.part(message, after_speech))
                    after_speech = message.WhichOneof("part") == "speech"
                else:
                    turn.respond(self._reader.respond())
        except Exception as error:
            turn.fail(error)

    def _load(self) -> None:
        settings = self.settings
        dtype = getattr(torch, settings.dtype)
        config = read_manifest(settings.checkpoint).config
        parts = [part for part in ("language", "speech_prompt", "state_head") if part in parts_of(config)]
        model = Parley.load(settings.checkpoint, parts, settings.device, dtype)
        if model.tokenizer is None:
            raise ValueError(f"{settings.checkpoint} has no tokenizer; the language service reads and writes words")
        self._reader = PromptReader(config.language, model.tokenizer, model.speech_prompt.vectors, dtype)
        writer = self._reader.writer
        self._engine = Engine(
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
