"""The function calls of one answer: tokens in, text and events of calls out, while the answer is generated.

Notable points:
- The LLM core says which tokens are of which call; their text is JSON {"name": …, "arguments": {…}}.
- Arguments are passed on as they come, once the name is known to be a function's. What is passed on can begin a JSON
  object; whether it ends as one is known with `FunctionCallDone`.
- A malformed call becomes text, whole, where it turns out to be one. The log says why, and nothing of its content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from pydantic_core import from_json

from protos.parley.v1.language_model_pb2 import Token
from services.gateway.events import FunctionCallDelta, FunctionCallDone
from services.gateway.events.items import Item, call_id, call_item_id
from services.telemetry import logs

log = logs.get_logger(__name__)

HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)')  # up to the arguments

Piece = Token | FunctionCallDelta | FunctionCallDone  # a token of the text, or what the client is told of a call


class MalformedCallError(ValueError):
    """Says what is wrong, without the call's content."""


class CallReader:
    """Of one answer."""

    def __init__(self, turn_id: str, functions: Collection[str]):
        """`functions`: names of those that may be called."""
        self._turn_id, self._functions = turn_id, functions
        self._call: _OpenCall | None = None
        self._tokens: list[Token] = []  # of the open call
        self._is_text = False  # it was malformed: the rest of it is text too

    def read(self, token: Token) -> Iterator[Piece]:
        """The next token of the answer."""
        if not token.call:
            yield from self.finish()
            yield token
            return
        if self._call is None or self._call.number != token.call:
            yield from self.finish()
            self._call = _OpenCall(self._turn_id, token.call, self._functions)
        yield from self._read_call(self._call, token)

    def finish(self) -> Iterator[Piece]:
        """The answer has ended, or goes on with something else: a call that is still open is malformed."""
        if self._call is not None and not self._is_text:
            yield from self._as_text("it was not ended")
        self._forget()

    def _read_call(self, call: _OpenCall, token: Token) -> Iterator[Piece]:
        if self._is_text:
            yield from _text([token])
        else:
            self._tokens.append(token)
            try:
                yield from call.add(token.text)
                if token.call_done:
                    yield from call.end()
            except MalformedCallError as error:
                yield from self._as_text(str(error))
        if token.call_done:
            self._forget()

    def _as_text(self, reason: str) -> Iterator[Token]:
        log.warning("a function call of the answer was malformed and became text", reason=reason)
        self._is_text = True
        yield from _text(self._tokens)

    def _forget(self) -> None:
        self._call, self._tokens, self._is_text = None, [], False


class _OpenCall:
    def __init__(self, turn_id: str, number: int, functions: Collection[str]):
        self.number, self._functions = number, functions
        self._ids = call_item_id(turn_id, number), call_id(turn_id, number)
        self._text = ""
        self._name = ""  # once it is known
        self._start = self._sent = 0  # of the arguments; how far they have been passed on

    def add(self, text: str) -> Iterator[FunctionCallDelta]:
        """More of it. Raises `MalformedCallError`."""
        self._text += text
        if self._text.strip():
            _object(self._text, partial=True)
        head = HEAD.match(self._text) if not self._name else None
        if head is not None:
            self._name = self._known(json.loads(head[1]))
            self._start = self._sent = head.end()
        if self._name and (head is not None or self._sent < self._end):
            yield self._delta(self._end)

    def end(self) -> Iterator[FunctionCallDelta | FunctionCallDone]:
        """It is complete. Raises `MalformedCallError`."""
        call = _object(self._text)
        name, arguments = self._known(call.get("name")), call.get("arguments", {})
        if not isinstance(arguments, dict):
            raise MalformedCallError("its arguments are no object")
        if not self._name:  # written in another order
            written = json.dumps(arguments, ensure_ascii=False)
            yield FunctionCallDelta(*self._ids, name, written)
        else:
            written = self._text[self._start : self._end]
            if (name, arguments) != (self._name, _object(written)):
                raise MalformedCallError("it has a name or arguments twice")
        yield FunctionCallDone(*self._ids, name, written)

    def _delta(self, end: int) -> FunctionCallDelta:
        piece, self._sent = self._text[self._sent : end], end
        return FunctionCallDelta(*self._ids, self._name, piece)

    @property
    def _end(self) -> int:
        """Of the arguments, as far as they have come."""
        try:
            return json.JSONDecoder().raw_decode(self._text, self._start)[1]
        except json.JSONDecodeError:
            return len(self._text)

    def _known(self, name: Any) -> str:
        if not isinstance(name, str):
            raise MalformedCallError("it has no name")
        if name not in self._functions:
            raise MalformedCallError("no function has its name")
        return name


def _object(text: str, partial: bool = False) -> dict[str, Any]:
    """`partial`: as far as it goes."""
    try:
        value = from_json(text, allow_inf_nan=False, allow_partial="trailing-strings" if partial else False)
    except ValueError:
        raise MalformedCallError("it is no JSON") from None
    if not isinstance(value, dict):
        raise MalformedCallError("it is no JSON object")
    return value


def _text(tokens: list[Token]) -> Iterator[Token]:
    """The same as tokens of the text; those of tags have none."""
    return (Token(id=token.id, text=token.text) for token in tokens if token.text)


def call_item(turn_id: str, call: FunctionCallDone) -> Item:
    """As history has it."""
    return Item(
        id=call.item_id,
        type="function_call",
        turn_id=turn_id,
        call_id=call.call_id,
        name=call.name,
        arguments=call.arguments,
    )
