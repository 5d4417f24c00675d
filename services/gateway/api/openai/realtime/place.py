"""Where a client is in a session that it goes on with after a lost connection, as the address says.

    /v1/realtime?model=…&parley_session_id=                          a new session, which can be gone on with
    /v1/realtime?parley_session_id=ID                                a session that there is, with nothing running
    /v1/realtime?parley_session_id=ID&parley_last_event_id=event_41_2  all that came after this event, and its answer

The id of a server event is `event_SEQUENCE_LEFT`: the number of the conversation's event, and how many more of that
one's server events follow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from services.gateway.api.openai.errors import ApiError
from services.gateway.api.openai.realtime.responses import WireEvent
from services.gateway.events import Event, SessionReady

EVENT_ID = re.compile(r"event_(\d{1,15})_(\d{1,6})")


@dataclass(frozen=True)
class Place:
    resumable: bool = False
    session_id: str = ""
    last_event_id: str = ""
    sequence: int = 0  # of the conversation's event that the last server event was of
    left: int = 0  # server events of that one which the client has not had

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Place:
        """Raises `ApiError`."""
        session_id, last_event_id = query.get("parley_session_id"), query.get("parley_last_event_id", "")
        if not last_event_id:
            return cls(session_id is not None, session_id or "")
        found = EVENT_ID.fullmatch(last_event_id)
        if found is None:
            message = "parley_last_event_id is the event_id of the last server event that came: event_41_0"
            raise ApiError(message, "invalid_value", "parley_last_event_id")
        if not session_id:
            message = "parley_last_event_id goes on with a session; send its id as parley_session_id"
            raise ApiError(message, "missing_required_parameter", "parley_session_id")
        return cls(True, session_id, last_event_id, int(found[1]), int(found[2]))

    @property
    def resumes(self) -> bool:
        return bool(self.last_event_id)

    @property
    def after(self) -> int | None:
        """Number of the conversation's last event that the client has had wholly; None: it does not ask."""
        if not self.resumes:
            return None
        return self.sequence - 1 if self.left else self.sequence

    def new(self, event: Event, wire_events: list[WireEvent]) -> list[WireEvent]:
        """Those of an event's server events that the client has not had."""
        if event.repeated:
            return []
        if self.resumes and event.logged and isinstance(event.body, SessionReady) and event.sequence == self.after:
            return [{**wire_event, "event_id": self.last_event_id} for wire_event in wire_events]
        if self.left and event.sequence == self.sequence:
            return wire_events[-self.left :]
        return wire_events
