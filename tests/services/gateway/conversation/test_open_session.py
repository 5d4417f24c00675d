"""A session is opened, resumed and configured, and a config that cannot be leaves everything as it was."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from protos.parley.v1.model_info_pb2 import ModelInfo, Speaker
from services.gateway.conversation.open_session import OpenSession
from services.gateway.events.session import Session, SessionConfig, Tool, TurnTaking
from services.gateway.settings import ConversationSettings
from services.rpc.errors import ServiceError


class Sessions:
    """Of a store, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, SessionConfig] = {}

    async def create(self, config: SessionConfig, owner: str) -> Session:
        session_id = f"s{len(self.kept)}"
        self.kept[session_id] = config
        return Session(session_id, config)

    async def open(self, session_id: str, owner: str) -> Session:
        return Session(session_id, self.kept[session_id], items=3)

    async def update(self, session_id: str, config: SessionConfig) -> None:
        self.kept[session_id] = config


class Calls:
    def __init__(self) -> None:
        self.speakers = ["anna", "ben"]

    async def describe(self, service: str) -> ModelInfo:
        assert service == "speech_decoder"
        speakers = [Speaker(name=name) for name in self.speakers]
        return ModelInfo(output_sample_rate=24_000, speakers=speakers, num_speaker_tokens=2)


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def connection(sessions, calls):
    """Makes connections: `connection(model_rate=24_000)`."""

    def make(model_rate: int = 16_000) -> OpenSession:
        settings = ConversationSettings(max_text_chars=20, max_tools=2)
        return OpenSession(SimpleNamespace(sessions=sessions), SimpleNamespace(current=calls), model_rate, settings)

    return make


async def test_a_new_session_and_the_same_one_later(connection, sessions):
    first = connection()
    ready = await first.open("", {"speaker": "ben", "text_only": True})
    assert (ready.resumed, ready.items, ready.output_sample_rate) == (False, 0, 24_000)
    assert ready.speakers == ("anna", "ben") and sessions.kept == {"s0": ready.config}
    again = await connection().open("s0", {"text_only": False})
    assert (again.session_id, again.resumed, again.items) == ("s0", True, 3)
    assert again.config == SessionConfig(speaker="ben") == sessions.kept["s0"]


async def test_an_update_changes_what_another_connection_has_set(connection, sessions):
    one, other = connection(), connection()
    await one.open("", {})
    await other.open("s0", {})
    await other.update({"instructions": "be brief"})
    updated = await one.update({"text_only": True})
    assert updated.config == SessionConfig(instructions="be brief", text_only=True) == one.session.config
    assert sessions.kept["s0"] == updated.config


async def test_a_speaker_that_is_gone_becomes_the_default(connection, calls):
    await connection().open("", {"speaker": "ben"})
    calls.speakers = ["anna"]
    assert (await connection().open("s0", {})).config.speaker == ""


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"input_sample_rate": 11025}, "11025 Hz is not served"),
        ({"speaker": "nobody"}, "use one of anna, ben"),
        ({"speaker_tokens": (1,)}, "a speaker has 2 tokens; got 1"),
        ({"instructions": "x" * 21}, "21 characters are above the limit of 20"),
        ({"tools": tuple(Tool(name=name) for name in "abc")}, "3 tools are above the limit of 2"),
    ],
)
async def test_a_config_that_cannot_be_changes_nothing(connection, sessions, changes, complaint):
    with pytest.raises((ServiceError, ValueError), match=complaint):
        await connection().open("", changes)
    assert sessions.kept == {}
    opened = connection()
    await opened.open("", {})
    with pytest.raises((ServiceError, ValueError), match=complaint):
        await opened.update(changes)
    assert sessions.kept == {"s0": SessionConfig()} and opened.session.config == SessionConfig()


async def test_a_model_with_another_rate_has_manual_turns_only(connection):
    with pytest.raises(ValueError, match="use manual turns"):
        await connection(model_rate=24_000).open("", {})
    assert (await connection(model_rate=24_000).open("", {"manual_turns": True})).config.manual_turns


async def test_how_turns_are_taken_is_changed_field_by_field(connection):
    opened = connection()
    await opened.open("", {"turn_taking": TurnTaking(items_first=True, end_seconds=0.5)})
    await opened.update({"turn_taking": {"end_seconds": None, "eagerness": "low"}})
    assert opened.session.config.turn_taking == TurnTaking(items_first=True, eagerness="low")
