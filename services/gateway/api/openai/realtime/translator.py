"""Events of the conversation → server events of the Realtime API.

Notable points:
- What is sent follows from the events alone, so that another gateway that goes on with a session sends the same.
- An event's id is made of the number of the conversation's event, and of how many more follow of what that became.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from services.gateway import events
from services.gateway.api.openai.realtime.formats import PCM, OutputEncoder
from services.gateway.api.openai.realtime.item_order import ItemOrder
from services.gateway.api.openai.realtime.items import write_item
from services.gateway.api.openai.realtime.responses import ResponseWriter, WireEvent
from services.gateway.events import Event
from services.gateway.events.items import answer_item_id, question_item_id


class Heard:
    """The transcript of a question that is being spoken."""

    def __init__(self) -> None:
        self.sent = ""
        self.by_client = False  # which commits it, and is told then what was wrong with it
        self.listed = False  # clients know the item
        self.final = False  # it is complete


class Translator:
    """Of one connection. `session`: its `RealtimeSession.value`, read anew at each event."""

    def __init__(self, session_id: str, expires_at: int, parley_events: bool = False):
        """`parley_events`: also events of our own, which only some clients know."""
        self._session_id, self._expires_at, self._parley_events = session_id, expires_at, parley_events
        self.session: dict[str, Any] = {}
        self.output_rate = 0  # Hz, of the speech decoder
        self._order = ItemOrder()
        self._writers: dict[str, ResponseWriter] = {}  # by turn id
        self._heard: dict[str, Heard] = {}  # by turn id
        self._failures: dict[str, events.Failed] = {}  # by turn id

    def translate(self, event: Event) -> list[WireEvent]:
        """In the order in which they are to be sent."""
        bodies = list(self._bodies(event))
        left = reversed(range(len(bodies)))
        return [{"event_id": f"event_{event.sequence}_{n}", **body} for n, body in zip(left, bodies, strict=True)]

    def session_object(self) -> dict[str, Any]:
        fixed = {"id": self._session_id, "object": f"realtime.{'transcription_' * self._transcribes}session"}
        return fixed | self.session | {"expires_at": self._expires_at}

    @property
    def _transcribes(self) -> bool:
        return self.session.get("type") == "transcription"

    @property
    def _transcription(self) -> bool:
        """The client wants transcripts."""
        return bool(self.session["audio"]["input"]["transcription"])

    def _bodies(self, event: Event) -> Iterator[WireEvent]:
        body, turn_id = event.body, event.turn_id
        match body:
            case events.SessionReady():
                self.output_rate, self.session = body.output_sample_rate, body.config.client["session"]
                self._order = ItemOrder(body.last_item_id)
                yield {"type": "session.created", "session": self.session_object()}
                if self._parley_events:
                    yield {"type": "parley.session", "speakers": list(body.speakers)}
            case events.SessionUpdated():
                self.session = body.config.client["session"]
                yield {"type": "session.updated", "session": self.session_object()}
            case events.ApiEvent():
                yield body.payload
            case events.SpeechStarted(at_ms) if at_ms >= 0:
                item_id = question_item_id(turn_id)
                yield {"type": "input_audio_buffer.speech_started", "audio_start_ms": at_ms, "item_id": item_id}
            case events.SpeechStarted():
                self._heard.setdefault(turn_id, Heard()).by_client = True
            case events.SpeechStopped(at_ms) if at_ms >= 0:
                item_id = question_item_id(turn_id)
                yield {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": at_ms, "item_id": item_id}
            case events.SilenceNoticed(start_ms, end_ms):
                times = {"audio_start_ms": start_ms, "audio_end_ms": end_ms}
                kind = "input_audio_buffer.timeout_triggered"
                yield {"type": kind, **times, "item_id": question_item_id(turn_id)}
            case events.Transcript():
                yield from self._transcript(turn_id, body)
            case events.StateDecided():
                yield from self._state(turn_id, body)
            case events.ItemCreated():
                yield from self._item_created(turn_id, body)
            case events.ItemRetrieved():
                yield {"type": "conversation.item.retrieved", "item": self._with_audio(body)}
            case events.ItemTruncated(item_id, samples):
                ends = round(1000 * samples / max(1, self.output_rate))
                yield {
                    "type": "conversation.item.truncated",
                    "item_id": item_id,
                    "content_index": 0,
                    "audio_end_ms": ends,
                }
            case events.ItemDeleted(item_id):
                self._order.remove(item_id)
                yield {"type": "conversation.item.deleted", "item_id": item_id}
            case events.Failed():
                yield from self._failed(turn_id, body)
            case events.Playback():
                yield from self._playback(turn_id, body)
            case events.TurnDone():
                yield from self._turn_done(turn_id, body)
            case _:
                yield from self._answer(turn_id, body)

    def _with_audio(self, body: events.ItemRetrieved) -> WireEvent:
        """An item, with its audio where that is kept."""
        if not body.audio:
            return write_item(body.item)
        direction = "output" if body.item.role == "assistant" else "input"
        encoder = OutputEncoder(self.session["audio"].get(direction, {}).get("format") or PCM, body.sample_rate)
        data = b"".join([*encoder.feed(body.audio), *encoder.finish()])
        return write_item(body.item, audio=b64encode(data).decode())

    # Questions.

    def _item_created(self, turn_id: str, body: events.ItemCreated) -> Iterator[WireEvent]:
        item, previous = body.item, body.previous_item_id or None
        if turn_id and item.id != question_item_id(turn_id):
            return  # of an answer: told while it was written
        self._order.add(item.id, body.previous_item_id)
        if turn_id:
            yield {"type": "input_audio_buffer.committed", "previous_item_id": previous, "item_id": item.id}
        yield {"type": "conversation.item.added", "previous_item_id": previous, "item": write_item(item)}
        yield {"type": "conversation.item.done", "previous_item_id": previous, "item": write_item(item)}
        if turn_id:
            heard = self._heard.setdefault(turn_id, Heard())
            heard.listed = True

    def _transcript(self, turn_id: str, body: events.Transcript) -> Iterator[WireEvent]:
        item_id = question_item_id(turn_id)
        if self._parley_events and not body.final:
            yield {"type": "parley.transcript", "item_id": item_id, "transcript": body.text}
        heard = self._heard.setdefault(turn_id, Heard())
        heard.final = body.final
        if not heard.listed or not self._transcription:
            return
        place = {"item_id": item_id, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        if body.text.startswith(heard.sent) and body.text != heard.sent:
            yield {"type": f"{kind}.delta", **place, "delta": body.text[len(heard.sent) :]}
            heard.sent = body.text
        if body.final:
            usage = {"type": "duration", "seconds": round(body.seconds, 3)}
            yield {"type": f"{kind}.completed", **place, "transcript": body.text, "usage": usage}

    def _state(self, turn_id: str, body: events.StateDecided) -> Iterator[WireEvent]:
        if self._parley_events:
            yield {
                "type": "parley.state",
                "item_id": question_item_id(turn_id),
                "state": body.state,
                "probabilities": list(body.probabilities),
            }

    # Answers.

    def _playback(self, turn_id: str, body: events.Playback) -> Iterator[WireEvent]:
        """Clients of the Realtime API stop playing at `speech_started`, and know no pause."""
        if self._parley_events:
            yield {"type": "parley.playback", "item_id": answer_item_id(turn_id), "action": body.action}

    def _answer(self, turn_id: str, body: events.Body) -> Iterator[WireEvent]:
        match body:
            case events.AnswerBegun():
                self._writers[turn_id] = self._writer(turn_id, body)
                yield from self._writers[turn_id].created()
            case events.TextDelta(text=text):
                yield from self._writers[turn_id].text(text)
            case events.AudioDelta():
                yield from self._writers[turn_id].audio(body)
            case events.FunctionCallDelta():
                yield from self._writers[turn_id].call_delta(body)
            case events.FunctionCallDone():
                yield from self._writers[turn_id].call_done(body)

    def _writer(self, turn_id: str, body: events.AnswerBegun) -> ResponseWriter:
        """`body.client`: the response as `inputs.create_response` has it, or the session as the turn began with it."""
        wanted: Mapping[str, Any] = body.client.get("response") or body.client.get("session") or self.session
        conversation_id = f"conv_{self._session_id}" if body.client.get("kept", True) else None
        return ResponseWriter(turn_id, body.item_id, wanted, conversation_id, self._order)

    def _failed(self, turn_id: str, body: events.Failed) -> Iterator[WireEvent]:
        if turn_id:
            self._failures[turn_id] = body
        else:
            error = {"type": "server_error", "code": body.code.lower(), "message": body.message}
            yield {"type": "error", "error": {**error, "param": None, "event_id": None}}

    def _turn_done(self, turn_id: str, body: events.TurnDone) -> Iterator[WireEvent]:
        failure, heard = self._failures.pop(turn_id, None), self._heard.pop(turn_id, None)
        writer = self._writers.pop(turn_id, None)
        listed = heard is not None and heard.listed
        unheard = failure is not None and listed and not heard.final and self._transcription
        if unheard:
            yield from self._transcription_failed(turn_id, failure)
        if writer is None and body.answers and listed and self._owes_a_response(body):
            writer = self._writer(turn_id, events.AnswerBegun(answer_item_id(turn_id)))
            yield from writer.created()
        if writer is not None:
            writer.failure = failure
            yield from writer.done(body)
        elif failure is not None and not unheard and not (heard is not None and heard.by_client and not listed):
            yield from self._failed("", failure)
        if self._parley_events and writer is not None:
            yield {"type": "parley.turn", "response_id": writer.id, "latency": asdict(body.latency)}

    @staticmethod
    def _owes_a_response(body: events.TurnDone) -> bool:
        """Of an answer of which nothing was told: it failed, was cancelled on purpose, or is empty."""
        if body.finish_reason == "cancelled":
            return not body.by_speech
        return body.finish_reason != "nothing"

    def _transcription_failed(self, turn_id: str, failure: events.Failed) -> Iterator[WireEvent]:
        yield {
            "type": "conversation.item.input_audio_transcription.failed",
            "item_id": question_item_id(turn_id),
            "content_index": 0,
            "error": {"type": "server_error", "code": failure.code.lower(), "message": failure.message},
        }
