"""What guards the inputs of a connection."""

from __future__ import annotations

from types import SimpleNamespace

import grpc
import pytest

from services.gateway.conversation.conversation import MAX_BACKLOG, Conversation
from services.gateway.conversation.early_answers import EarlyAnswers
from services.gateway.events import Event, Failed, SpeechStarted, TurnDone
from services.gateway.media.detector import Detector
from services.gateway.media.memory_budget import MemoryBudget
from services.gateway.settings import ConversationSettings, MediaSettings, ServerSettings, VadSettings
from services.rpc.errors import ServiceError


@pytest.fixture
def conversation() -> Conversation:
    """Not opened: it has neither a store nor services."""
    settings = ConversationSettings(max_unread_events=2, max_turn_events=20)
    store = SimpleNamespace(events=None, embeddings=None)
    memory = MemoryBudget(ServerSettings())
    return Conversation(store, None, settings, MediaSettings(), VadSettings(), Detector(), EarlyAnswers(8), memory)


async def test_a_client_that_sends_and_does_not_read_is_ended(conversation):
    for _ in range(2 * MAX_BACKLOG + 1):
        with conversation.input(""):
            conversation.outbox.put_now(Event(SpeechStarted()))
    with pytest.raises(ServiceError, match="9 events unread") as caught, conversation.input(""):
        pass
    assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_flood_is_ended(conversation):
    for _ in range(20):
        with conversation.input(""):
            pass
    with pytest.raises(ServiceError, match="more than 20 events"), conversation.input(""):
        pass


async def test_what_an_input_raises_is_told_and_a_named_question_ends(conversation):
    with conversation.input("q", end=True):
        raise ValueError("no")
    error, done = [await conversation.outbox.next() for _ in range(2)]
    assert error.body == Failed("INVALID_ARGUMENT", "no") and error.question_id == "q"
    assert done.body == TurnDone("failed") and done.question_id == "q"
