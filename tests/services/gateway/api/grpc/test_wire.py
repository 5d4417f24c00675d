"""Every event, item and config on the wire and back."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import MessageToDict

from protos.parley.v1 import conversation_pb2 as pb
from protos.parley.v1 import tool_pb2
from protos.parley.v1.language_model_pb2 import Sampling
from services.gateway import events
from services.gateway.api.grpc.wire import config_changes, read_item, write_event
from services.gateway.events.items import Item, ItemPart, Ref
from services.gateway.events.session import SamplingConfig, SessionConfig, Tool, TurnTaking

CONFIG = SessionConfig(
    manual_turns=True,
    input_sample_rate=24_000,
    instructions="be brief",
    sampling=SamplingConfig(temperature=0.5, top_p=0.25, top_k=9, seed=7, max_tokens=20, stop=("end", "stop")),
    text_only=True,
    speaker="anna",
    speaker_tokens=(3, 1),
    tools=(Tool(name="now", description="the time", parameters={"type": "object"}),),
    tool_choice="function",
    tool_name="now",
    parallel_tool_calls=False,
    turn_taking=TurnTaking(end_seconds=0.7, eagerness="low"),
)
ANSWER = Item(id="a", role="assistant", turn_id="t", parts=[ItemPart(kind="text", text="red")], marks=[(9, 3)])
ANSWER_ON_WIRE = {
    "id": "a", "type": "TYPE_MESSAGE", "role": "ROLE_ASSISTANT", "turn_id": "t", "content": [{"text": "red"}],
}  # fmt: skip
DONE = events.TurnDone("length", "hi", events.Latency(1, 8, 2, 3, 4, 5, 6, 7), events.Usage(10, 5, 2, 4, 3, 0.5, 1.5))
DONE_ON_WIRE = {
    "finish_reason": "FINISH_REASON_LENGTH",
    "text": "hi",
    "latency": {
        "first_audio": 1, "speech_encoder": 2, "first_token": 3, "first_clause": 4, "speech_decoder": 5,
        "vision_encoder": 6, "total": 7, "end_of_turn": 8,
    },
    "usage": {
        "prompt_tokens": 10, "prompt_audio_tokens": 5, "prompt_image_tokens": 2,
        "cached_tokens": 4, "answer_tokens": 3, "audio_input_seconds": 0.5,
        "audio_output_seconds": 1.5,
    },
}  # fmt: skip
ON_WIRE = [  # an event's body, the field that carries it, what is in it
    (events.Playback("resume"), "playback", {"action": "ACTION_RESUME"}),
    (events.SpeechStarted(), "speech_started", {}),
    (events.SpeechStopped(), "speech_stopped", {}),
    (events.Transcript("what", final=True), "transcript", {"text": "what", "final": True}),
    (
        events.StateDecided("nothing", (0.25, 0.25, 0.5)),
        "state",
        {"state": "STATE_NOTHING", "probabilities": [0.25, 0.25, 0.5]},
    ),
    (events.TextDelta("red"), "text", {"text": "red"}),
    (
        events.FunctionCallDelta("i", "c", "now", '{"zone":'),
        "function_call_delta",
        {"item_id": "i", "call_id": "c", "name": "now", "arguments": '{"zone":'},
    ),
    (
        events.FunctionCallDone("i", "c", "now", "{}"),
        "function_call_done",
        {"item_id": "i", "call_id": "c", "name": "now", "arguments": "{}"},
    ),
    (events.AudioDelta(b"\0\1", 24_000, 7), "audio", {"audio": "AAE=", "sample_rate": 24_000, "offset": "7"}),
    (DONE, "done", DONE_ON_WIRE),
    (events.Failed("ABORTED", "no", 0.5), "error", {"code": "ABORTED", "message": "no", "retry_after": 0.5}),
    (events.ItemCreated(ANSWER, "q"), "item_created", {"item": ANSWER_ON_WIRE, "previous_item_id": "q"}),
    (events.ItemRetrieved(ANSWER), "item", ANSWER_ON_WIRE),
    (events.ItemTruncated("a", 9), "item_truncated", {"item_id": "a", "samples": "9"}),
    (events.ItemDeleted("a"), "item_deleted", {"item_id": "a"}),
]
CONFIGURED = {"SessionReady", "SessionUpdated"}  # checked with the configs below
ELSEWHERE = {"AnswerBegun", "ApiEvent", "SilenceNoticed"}  # told to clients of other APIs only
CONFIG_ELSEWHERE = {"client"}  # set by other APIs only


def test_there_is_an_example_of_each():
    assert {type(body).__name__ for body, _, _ in ON_WIRE} | CONFIGURED | ELSEWHERE == set(events.BODIES)
    fields = {field.name for field in pb.ServerEvent.DESCRIPTOR.oneofs_by_name["event"].fields}
    assert {field for _, field, _ in ON_WIRE} | {"session", "session_updated"} == fields


@pytest.mark.parametrize(("body", "field", "content"), ON_WIRE, ids=[field for _, field, _ in ON_WIRE])
def test_an_event_on_the_wire(body, field, content):
    sent = write_event(events.Event(body, "t", "q", sequence=5))
    assert (sent.sequence, sent.turn_id, sent.question_id) == (5, "t", "q")
    assert sent.WhichOneof("event") == field
    assert MessageToDict(getattr(sent, field), preserving_proto_field_name=True) == content


@pytest.mark.parametrize("config", [SessionConfig(), CONFIG], ids=["default", "all set"])
def test_a_config_comes_back_whole(config):
    ready = events.SessionReady("s", True, 3, 24_000, config, ("anna", "ben"))
    session = write_event(events.Event(ready)).session
    assert (session.session_id, session.resumed, session.items, session.output_sample_rate) == ("s", True, 3, 24_000)
    assert list(session.speakers) == ["anna", "ben"]
    updated = write_event(events.Event(events.SessionUpdated(config))).session_updated
    for sent in (session.config, updated):
        changes = config_changes(sent)
        assert set(changes) | CONFIG_ELSEWHERE == set(SessionConfig.model_fields)  # also what is empty is said
        assert SessionConfig(**changes) == config


def test_only_what_is_set_is_changed():
    assert config_changes(pb.SessionConfig()) == {}
    unspecified = pb.SessionConfig(turn_detection=pb.TURN_DETECTION_UNSPECIFIED, text_only=False)
    assert config_changes(unspecified) == {"text_only": False}
    assert config_changes(pb.SessionConfig(speaker_tokens=pb.SpeakerTokens())) == {"speaker_tokens": ()}


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        (Sampling(temperature=float("nan")), "temperature"),
        (Sampling(temperature=-1), "temperature"),
        (Sampling(top_p=2), "top_p"),
        (Sampling(top_k=-1), "top_k"),
        (Sampling(max_tokens=-1), "max_tokens"),
        (Sampling(stop=["x"] * 9), "stop"),
        (Sampling(stop=["ok", ""]), "stop.1"),
    ],
)
def test_sampling_that_cannot_be_is_refused_in_one_line_that_names_the_field(sampling, field):
    with pytest.raises(ValueError) as caught:
        config_changes(pb.SessionConfig(sampling=sampling))
    assert type(caught.value) is ValueError
    assert str(caught.value).startswith(f"sampling.{field}: ") and "\n" not in str(caught.value)


def test_how_turns_end_is_changed_field_by_field():
    assert config_changes(pb.SessionConfig(end_seconds=0.3)) == {"turn_taking": {"end_seconds": 0.3}}
    assert config_changes(pb.SessionConfig(end_seconds=0)) == {"turn_taking": {"end_seconds": None}}
    assert config_changes(pb.SessionConfig(eagerness=pb.EAGERNESS_HIGH)) == {"turn_taking": {"eagerness": "high"}}
    assert config_changes(pb.SessionConfig(eagerness=pb.EAGERNESS_UNSPECIFIED)) == {}


@pytest.mark.parametrize("seconds", [-1, 0.05, 11, float("nan"), float("inf")])
def test_a_silence_that_cannot_be_is_refused(seconds):
    with pytest.raises(ValueError, match=r"send 0.1 to 10 s, or 0"):
        config_changes(pb.SessionConfig(end_seconds=seconds))


def test_an_eagerness_that_is_unknown_is_refused():
    with pytest.raises(ValueError, match="eagerness 9 is unknown; use one of auto, low, medium, high"):
        config_changes(pb.SessionConfig(eagerness=9))


def test_a_turn_detection_that_is_unknown_is_refused():
    with pytest.raises(ValueError, match="turn_detection 7 is unknown"):
        config_changes(pb.SessionConfig(turn_detection=7))


@pytest.mark.parametrize("parameters", ["{", "[]", "3", pytest.param('{"a":' * 100_000, id="deep")])
def test_tools_whose_parameters_are_no_object_are_refused(parameters):
    tools = pb.Tools(tools=[tool_pb2.Tool(name="now", parameters=parameters)])
    with pytest.raises(ValueError, match="parameters of tool 'now' are no JSON object"):
        config_changes(pb.SessionConfig(tools=tools))


def test_a_tool_choice_that_is_unknown_is_refused():
    with pytest.raises(ValueError, match="tool_choice 7 is unknown"):
        config_changes(pb.SessionConfig(tool_choice=7))


@pytest.mark.parametrize(
    "item",
    [
        Item(id="i", role="user", parts=[ItemPart(kind="text", text="one"), ItemPart(kind="text", text="two")]),
        Item(id="i", type="function_call", call_id="c", name="now", arguments="{}"),
        Item(id="i", type="function_call_output", call_id="c", output="noon"),
    ],
    ids=lambda item: item.type,
)
def test_an_item_comes_back(item):
    assert read_item(write_event(events.Event(events.ItemRetrieved(item))).item) == item


def test_what_a_client_sees_of_media_and_of_playing():
    ref = Ref(weights="w", hash="abc", length=9)
    parts = [ItemPart(kind="image", ref=ref), ItemPart(kind="speech", text="what", ref=ref)]
    question = Item(id="q", role="user", parts=parts)
    sent = write_event(events.Event(events.ItemRetrieved(question))).item
    assert list(sent.content) == [pb.ItemContent(image="abc"), pb.ItemContent(transcript="what")]
    assert not sent.HasField("played")
    played = write_event(events.Event(events.ItemRetrieved(ANSWER.model_copy(update={"played": 0})))).item
    assert played.HasField("played") and played.played == 0


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        (pb.Item(), "item type 0 is unknown"),
        (pb.Item(type=9), "item type 9 is unknown"),
        (pb.Item(type=pb.Item.TYPE_MESSAGE, content=[pb.ItemContent(image="abc")]), "text content only"),
        (pb.Item(type=pb.Item.TYPE_MESSAGE, content=[pb.ItemContent()]), "text content only"),
    ],
)
def test_an_item_that_a_client_cannot_create_is_refused(item, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_item(item)


def test_a_role_that_is_no_role_of_an_item_is_none():
    assert read_item(pb.Item(type=pb.Item.TYPE_MESSAGE, role=9)).role == ""
