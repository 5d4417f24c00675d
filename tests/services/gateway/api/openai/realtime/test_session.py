"""What a client has set of a session, merged, and what it means for the conversation."""

from __future__ import annotations

import copy

import pytest

from services.gateway.api.openai.errors import ApiError
from services.gateway.api.openai.names import ModelNames
from services.gateway.api.openai.realtime.session import RealtimeSession, defaults
from services.gateway.events.session import SessionConfig
from services.gateway.settings import ApiSettings

SPEAKERS = ("anna", "ben")


@pytest.fixture
def session() -> RealtimeSession:
    return RealtimeSession(ModelNames(ApiSettings()), SPEAKERS, defaults("parley", "realtime", "anna"))


def update(session: RealtimeSession, **patch) -> SessionConfig:
    session.value = session.merged({"type": "realtime", **patch})
    return SessionConfig(**session.changes())


def test_a_session_begins_with_detection_and_the_first_speaker(session):
    config = SessionConfig(**session.changes())
    assert not config.manual_turns and config.input_sample_rate == 24_000 and config.speaker == "anna"
    turns = config.turn_taking
    assert (turns.start, turns.end_seconds, turns.preroll_seconds) == (0.5, None, 0.3)
    assert turns.eagerness == "auto"  # no silence was named: what was said decides
    assert "silence_duration_ms" not in session.value["audio"]["input"]["turn_detection"]
    assert (turns.interruption, turns.answer, turns.items_first) == (None, True, True)  # by what is said


def test_absent_fields_stay_null_clears_and_empty_is_empty(session):
    update(session, instructions="be brief", tools=[{"type": "function", "name": "now"}])
    assert update(session, output_modalities=["text"]).instructions == "be brief"
    config = update(session, instructions="", tools=[], audio={"input": {"turn_detection": None}})
    assert config.instructions == "" and config.tools == () and config.manual_turns
    assert config.text_only


def test_a_part_of_a_detection_keeps_its_kind_and_the_rest(session):
    update(session, audio={"input": {"turn_detection": {"silence_duration_ms": 800}}})
    turns = update(session, audio={"input": {"turn_detection": {"interrupt_response": False}}}).turn_taking
    assert turns.end_seconds == 0.8 and turns.interruption == "never"
    turns = update(
        session, audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}
    ).turn_taking
    assert turns.eagerness == "low" and turns.end_seconds is None and turns.start is None
    assert turns.interruption is None  # another kind begins with its own defaults
    turns = update(session, audio={"input": {"turn_detection": {"create_response": False}}}).turn_taking
    assert (turns.interruption, turns.answer) == ("voice", False)


def test_null_takes_a_named_silence_back(session):
    update(session, audio={"input": {"turn_detection": {"silence_duration_ms": 800}}})
    turns = update(session, audio={"input": {"turn_detection": {"silence_duration_ms": None}}}).turn_taking
    assert turns.end_seconds is None
    assert "silence_duration_ms" not in session.value["audio"]["input"]["turn_detection"]


def test_what_is_refused_changes_nothing(session):
    before = copy.deepcopy(session.value)
    for patch in (
        {"instructions": "new", "audio": {"output": {"speed": 2}}},
        {"instructions": "new", "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 3}}}},
        {"instructions": "new", "tools": [{"type": "mcp", "server_label": "x"}]},
        {"instructions": "new", "tool_choice": {"type": "function", "name": "no"}},
        {"instructions": "new", "max_output_tokens": 5000},
    ):
        with pytest.raises(ApiError):
            session.merged({"type": "realtime", **patch})
    assert session.value == before


@pytest.mark.parametrize(
    ("voice", "speaker"), [("ben", "ben"), ("alloy", "anna"), ("ash", "ben"), ({"id": "ben"}, "ben")]
)
def test_voices_mean_speakers(session, voice, speaker):
    assert update(session, audio={"output": {"voice": voice}}).speaker == speaker


def test_another_type_begins_anew(session):
    session.value = session.merged({"type": "transcription", "audio": {"input": {"format": {"type": "audio/pcma"}}}})
    config = SessionConfig(**session.changes())
    assert session.transcribes_only and not config.turn_taking.answer and config.input_sample_rate == 8000
    assert "instructions" not in session.value


@pytest.mark.parametrize("patch", [None, 3, [], {}, {"type": "x"}, {"type": "realtime", "audio": 3}])
def test_what_is_no_session_is_refused(session, patch):
    with pytest.raises(ApiError) as caught:
        session.merged(patch)
    assert caught.value.param.startswith("session")
