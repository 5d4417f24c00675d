"""What the client has been told of a turn: its events, those of a kind put together, so that it stays small.

It is kept in Redis while the turn runs. Another gateway that goes on with the turn passes over what is in it, and APIs
learn from it what came before.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from services.gateway.events import (
    AudioDelta,
    Body,
    Event,
    FunctionCallDelta,
    FunctionCallDone,
    StateDecided,
    TextDelta,
    Transcript,
    TurnDone,
    decode,
    encode,
)


@dataclass
class Told:
    turn_id: str
    question_id: str = ""
    since: int = 0  # sequence of its first event; 0: nothing yet
    bodies: dict[str, Body] = field(default_factory=dict)  # in order; audio without its bytes, `offset` at its end
    pieces: Counter[str] = field(default_factory=Counter)  # that each of them was put together of
    heard: list[int] = field(default_factory=list)  # characters of the transcript, each time that it had grown
    tokens: list[int] = field(default_factory=list)  # ids, from the answer's first; none where it may call functions
    marks: list[tuple[int, int]] = field(default_factory=list)  # (samples, characters spoken by then)
    first_audio: float = 0.0  # `time.time()`; 0: not yet
    over: bool = False

    @property
    def state(self) -> str:
        """Empty: not decided."""
        decided = self.bodies.get("StateDecided")
        return decided.state if isinstance(decided, StateDecided) else ""

    @property
    def text(self) -> str:
        text = self.bodies.get("TextDelta")
        return text.text if isinstance(text, TextDelta) else ""

    @property
    def samples(self) -> int:
        audio = self.bodies.get("AudioDelta")
        return audio.offset if isinstance(audio, AudioDelta) else 0

    @property
    def sample_rate(self) -> int:
        audio = self.bodies.get("AudioDelta")
        return audio.sample_rate if isinstance(audio, AudioDelta) else 0

    @property
    def calls(self) -> list[FunctionCallDone]:
        """The complete ones."""
        return [body for body in self.bodies.values() if isinstance(body, FunctionCallDone)]

    def add(self, event: Event) -> None:
        """The next event of the turn."""
        self.since = self.since or event.sequence
        self.question_id = event.question_id or self.question_id
        self.over = self.over or isinstance(event.body, TurnDone)
        if isinstance(event.body, AudioDelta):
            self.first_audio = self.first_audio or time.time()
            self.marks.append((event.body.offset + _samples(event.body), event.body.spoken))
        if isinstance(event.body, TextDelta):
            self.tokens.extend(event.body.tokens)
        if isinstance(event.body, Transcript):
            self.heard.append(len(event.body.text))
        name = name_of(event.body)
        self.bodies[name] = _joined(self.bodies.get(name), event.body)
        self.pieces[name] += 1

    def before(self, later: Sequence[Body]) -> list[Body]:
        """What it was before the events `later`, the last of the turn. A transcript counts as one that only grew."""
        bodies, pieces, heard = dict(self.bodies), Counter(self.pieces), list(self.heard)
        for body in reversed(later):
            name = name_of(body)
            pieces[name] -= 1
            if isinstance(body, Transcript):
                heard.pop()
                bodies[name] = Transcript(bodies[name].text[: heard[-1] if heard else 0])
            else:
                bodies[name] = _without(bodies[name], body)
        return [body for name, body in bodies.items() if pieces[name] and body is not None]

    def to_json(self) -> bytes:
        record = {
            "question": self.question_id,
            "since": self.since,
            "bodies": [[name, encode(Event(body))["event"].decode()] for name, body in self.bodies.items()],
            "pieces": self.pieces,
            "heard": self.heard,
            "tokens": self.tokens,
            "marks": self.marks,
            "first_audio": self.first_audio,
            "over": self.over,
        }
        return json.dumps(record, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, turn_id: str, data: bytes) -> Told:
        record: dict[str, Any] = json.loads(data)
        bodies = {name: decode(0, {b"event": event.encode(), b"audio": b""}).body for name, event in record["bodies"]}
        return cls(
            turn_id=turn_id,
            question_id=record["question"],
            since=record["since"],
            bodies=bodies,
            pieces=Counter(record["pieces"]),
            heard=record["heard"],
            tokens=record["tokens"],
            marks=[(samples, characters) for samples, characters in record["marks"]],
            first_audio=record["first_audio"],
            over=record["over"],
        )


def name_of(body: Body) -> str:
    """Of what it is put together with."""
    kind = type(body).__name__
    item_id = getattr(body, "item_id", "") or getattr(getattr(body, "item", None), "id", "")
    return f"{kind} {item_id}" if item_id else kind


def _joined(before: Body | None, body: Body) -> Body:
    match body, before:
        case AudioDelta(), _:
            return replace(body, audio=b"", offset=body.offset + _samples(body))
        case TextDelta(), _:
            return TextDelta((before.text if before is not None else "") + body.text)
        case FunctionCallDelta(), FunctionCallDelta():
            return replace(body, arguments=before.arguments + body.arguments)
    return body


def _without(joined: Body | None, body: Body) -> Body | None:
    """What was there before `body`, the last piece of it; None: nothing."""
    match body:
        case AudioDelta():
            return replace(joined, offset=body.offset)
        case TextDelta():
            return TextDelta(joined.text[: len(joined.text) - len(body.text)])
        case FunctionCallDelta():
            return replace(joined, arguments=joined.arguments[: len(joined.arguments) - len(body.arguments)])
    return None


def _samples(audio: AudioDelta) -> int:
    return len(audio.audio) // 2
