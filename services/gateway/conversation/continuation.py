"""A turn that goes on is made again from its start: what its client has been told is passed over, the rest is new."""

from __future__ import annotations

from dataclasses import replace

import grpc

from services.gateway.conversation.told import Told, name_of
from services.gateway.events import (
    AudioDelta,
    Body,
    Failed,
    FunctionCallDelta,
    FunctionCallDone,
    StateDecided,
    TextDelta,
    TurnDone,
)
from services.gateway.turn.generate import Prompt
from services.rpc.errors import ServiceError


class Continuation:
    """Of one turn. It is made again with `prompt`, the one that it was made with before."""

    def __init__(self, told: Told, prompt: Prompt):
        self.told, self.prompt = told, prompt
        self._tokens = 0  # that have been made again
        self._done: dict[str, int] = {}  # name of the text, or of a call → characters that have been made again
        self._samples = 0  # that have been made again
        self._calls: set[str] = set()  # ids of those that have been made again to their end

    @property
    def behind(self) -> bool:
        """Not all that the client has been told has been made again."""
        text = self._done.get("TextDelta", 0) < len(self.told.text)
        calls = any(call.item_id not in self._calls for call in self.told.calls)
        return text or calls or self._samples < self.told.samples

    def check_end(self) -> None:
        """The answer has come to its end. Raises ABORTED where the client has been told more."""
        if self.behind:
            raise _differs()

    def new(self, body: Body) -> Body | None:
        """What of it is new to the client. Raises ABORTED where it is not what the client has been told."""
        match body:
            case TextDelta():
                return self._new_text(body)
            case FunctionCallDelta():
                return self._new_arguments(body)
            case AudioDelta():
                return self._new_audio(body)
            case StateDecided() if self.told.state:
                if body.state != self.told.state:
                    raise _differs()
                return None
            case FunctionCallDone():
                self._calls.add(body.item_id)
            case TurnDone() | Failed():
                return body
        return None if name_of(body) in self.told.bodies else body

    def _new_text(self, body: TextDelta) -> TextDelta | None:
        known = max(0, len(self.told.tokens) - self._tokens)
        self._tokens += len(body.tokens)
        text = self._rest(name_of(body), self.told.text, body.text)
        return TextDelta(text, body.tokens[known:]) if text else None

    def _new_arguments(self, body: FunctionCallDelta) -> FunctionCallDelta | None:
        told = self.told.bodies.get(name_of(body))
        arguments = self._rest(name_of(body), told.arguments if told is not None else "", body.arguments)
        return replace(body, arguments=arguments) if arguments or told is None else None

    def _new_audio(self, body: AudioDelta) -> AudioDelta | None:
        samples = len(body.audio) // 2
        self._samples = body.offset + samples
        skip = min(samples, max(0, self.told.samples - body.offset))
        return replace(body, audio=body.audio[2 * skip :], offset=body.offset + skip) if samples > skip else None

    def _rest(self, name: str, told: str, piece: str) -> str:
        """What of the next piece comes behind what was told."""
        done = self._done.get(name, 0)
        self._done[name] = done + len(piece)
        known = told[done : done + len(piece)]
        if not piece.startswith(known):
            raise _differs()
        return piece[len(known) :]


def _differs() -> ServiceError:
    message = "the answer was cut off by a lost connection and could not be continued; ask again"
    return ServiceError(grpc.StatusCode.ABORTED, message, retry_after=0.5)
