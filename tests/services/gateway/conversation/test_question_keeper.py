"""A complete question is kept with its embeddings before any of its answer is delivered, where that is asked for."""

from __future__ import annotations

from types import SimpleNamespace

import grpc
import pytest

from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.conversation.asked import Asked
from services.gateway.conversation.question import Question
from services.gateway.conversation.question_keeper import QuestionKeeper
from services.gateway.conversation.request import TurnRequest
from services.gateway.events.session import SessionConfig
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.settings import MediaSettings
from services.gateway.turn.generate import Prompt
from services.rpc.errors import ServiceError


class Kept:
    """What is written, in order; as the delivery and the store of embeddings of one connection."""

    def __init__(self, resumable: bool = True, fails: bool = False):
        self.resumable, self._fails = resumable, fails
        self.written: list = []

    async def put(self, ref, data) -> bool:
        self.written.append(ref)
        return True

    async def keep_asked(self, turn_id: str, asked: bytes) -> None:
        if self._fails:
            raise ServiceError(grpc.StatusCode.UNAVAILABLE, "away")
        self.written.append((turn_id, Asked.model_validate_json(asked)))


class Calls:
    async def describe(self, service: str):
        return SimpleNamespace(weights=f"weights of {service}")


def question() -> Question:
    asked = Question(True, 16_000, MediaSettings())
    asked.add_audio(bytes(16_000))
    asked.weights = "w"
    asked.embeddings.append(Tensor(dtype="uint8", shape=[2, 1], data=b"ab"))
    asked.name_utterance()
    return asked


async def keep(kept: Kept, asked: Question, **config) -> QuestionKeeper:
    keeper = QuestionKeeper("turn", asked, EmbeddingWriter(kept), kept)
    keeper.keep(Prompt(), "mine", TurnRequest(SessionConfig(**config)), 5, Calls())
    await keeper.wait()
    return keeper


async def test_the_embeddings_are_there_before_the_question_says_so():
    kept, asked = Kept(), question()
    assert (await keep(kept, asked)).begun
    ref, (turn_id, record) = kept.written
    assert ref == asked.utterance == record.utterance and turn_id == "turn"
    assert (record.question_id, record.config.sampling.seed) == ("mine", 5)
    assert record.weights == {"llm_core": "weights of llm_core", "speech_decoder": "weights of speech_decoder"}


async def test_a_written_answer_needs_no_speech_decoder():
    kept = Kept()
    await keep(kept, question(), text_only=True)
    assert set(kept.written[-1][1].weights) == {"llm_core"}


@pytest.mark.parametrize(("kept", "begun"), [(Kept(resumable=False), False), (Kept(fails=True), True)])
async def test_what_is_not_kept_stops_no_turn(kept, begun):
    assert (await keep(kept, question())).begun == begun
    assert not any(isinstance(each, tuple) for each in kept.written)
