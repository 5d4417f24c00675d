"""Events of the conversation that no test through a gateway brings about."""

from __future__ import annotations

from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from services.gateway import events
from services.gateway.api.openai.realtime.session import defaults
from services.gateway.api.openai.realtime.translator import Translator
from services.gateway.events import Event
from services.gateway.events.items import Item, ItemPart, question_item_id
from services.gateway.events.session import SessionConfig

QUESTION = Item(id=question_item_id("t"), role="user", turn_id="t", parts=[ItemPart(kind="speech")])


def translated(*bodies: events.Body, transcription: bool = True) -> list[dict]:
    """Of a turn `t`, in a session that is open; checked against the types of the `openai` package."""
    session = defaults("parley", "realtime", "default")
    session["audio"]["input"]["transcription"] = {"model": "any"} if transcription else None
    translator = Translator("s", 0)
    config = SessionConfig(client={"session": session})
    translator.translate(Event(events.SessionReady("s", False, 0, 24_000, config), sequence=1))
    came = []
    for sequence, body in enumerate(bodies, start=2):
        came += translator.translate(Event(body, "t", sequence=sequence))
    for event in came:
        TypeAdapter(RealtimeServerEvent).validate_python(event)
    return came


def names(came: list[dict]) -> list[str]:
    return [event["type"] for event in came]


LOST = events.Failed("UNAVAILABLE", "the speech encoder cannot be reached", 1.0)
COMMITTED = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]


def test_speech_that_could_not_be_transcribed_is_said_so_and_the_response_fails():
    came = translated(events.ItemCreated(QUESTION), LOST, events.TurnDone("failed"))
    assert names(came)[:4] == [*COMMITTED, "conversation.item.input_audio_transcription.failed"]
    assert came[3]["error"]["code"] == "unavailable" and came[3]["item_id"] == QUESTION.id
    assert names(came)[4:] == ["response.created", "response.done"]
    details = came[-1]["response"]["status_details"]
    assert (details["type"], details["error"]["type"], details["error"]["code"]) == (
        "failed",
        "server_error",
        "unavailable",
    )


def test_an_answer_that_fails_in_the_middle_is_closed_and_failed():
    begun = [events.AnswerBegun("item_t_a"), events.TextDelta("re")]
    came = translated(*begun, LOST, events.TurnDone("failed"))
    assert names(came)[-2:] == ["conversation.item.done", "response.done"]
    assert came[-1]["response"]["output"][0]["status"] == "incomplete"
    assert came[-1]["response"]["status_details"]["error"]["message"] == LOST.message


def test_a_question_that_was_never_complete_and_failed_is_an_error():
    came = translated(LOST, events.TurnDone("failed"))
    assert names(came) == ["error"] and came[0]["error"]["type"] == "server_error"


def test_a_question_that_is_only_transcribed_and_fails_is_told_once():
    done = events.TurnDone("failed", answers=False)
    assert names(translated(events.ItemCreated(QUESTION), LOST, done))[3:] == [
        "conversation.item.input_audio_transcription.failed"
    ]
    assert names(translated(events.ItemCreated(QUESTION), LOST, done, transcription=False))[3:] == ["error"]


def test_an_answer_without_words_is_a_response_too():
    came = translated(events.ItemCreated(QUESTION), events.Transcript("hi", final=True), events.TurnDone("stop"))
    assert names(came)[-2:] == ["response.created", "response.done"]
    assert came[-1]["response"]["status"] == "completed" and came[-1]["response"]["output"] == []


def test_a_question_that_another_interrupts_before_it_was_answered_has_no_response():
    came = translated(events.ItemCreated(QUESTION), events.TurnDone("cancelled", by_speech=True))
    assert names(came) == COMMITTED


def test_calls_that_were_cut_off_are_incomplete():
    delta = events.FunctionCallDelta("item_c", "call", "now", '{"zone":')
    came = translated(events.AnswerBegun("item_t_a"), delta, events.TurnDone("cancelled"))
    (call,) = came[-1]["response"]["output"]
    assert (call["status"], call["arguments"]) == ("incomplete", '{"zone":')


def test_transcripts_only_grow():
    grown = [
        events.Transcript("what"),
        events.Transcript("what co"),
        events.Transcript("white"),
        events.Transcript("what colour", True),
    ]
    came = translated(events.ItemCreated(QUESTION), *grown)
    deltas = [event["delta"] for event in came if event["type"].endswith(".delta")]
    assert deltas == ["what", " co", "lour"] and came[-1]["transcript"] == "what colour"


def test_ids_of_events_say_how_many_more_follow_of_the_same():
    came = translated(events.ItemCreated(QUESTION))
    assert [event["event_id"] for event in came] == ["event_2_2", "event_2_1", "event_2_0"]
