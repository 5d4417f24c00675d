"""Tells the tokens of function calls from those of the text, while an answer is generated.

Notable points:
- Tags are found in the text, so a tag may be one token, several, or a part of one. The engine gives a token that is a
  tag its text, whatever the tokenizer decodes it to.
- What may be the beginning of a tag is withheld until it is known. No tag is ever sent as text; its tokens are sent
  with an empty one.
- The line feed before a call is the template's, and white space before or behind one is nothing without text there.
"""

from __future__ import annotations

from parley.text.tools import CALL, END_OF_CALL
from services.llm_core.requests import Token
from services.llm_core.stop_strings import overlap
from services.llm_core.tools import CallRules


class CallMatcher:
    def __init__(self, rules: CallRules | None):
        """None: what looks like a call is text."""
        self._rules = rules
        self._held: list[tuple[int, str]] = []
        self._call = 0  # the call that is open; 0: none
        self._calls = 0  # begun
        self._blank = True  # no text has been sent since the last call

    @property
    def enough(self) -> bool:
        """No more calls are wanted."""
        return bool(self._rules and not self._call and 0 < self._rules.max_calls <= self._calls)

    def push(self, token: int, text: str) -> list[Token]:
        """The tokens that may be sent."""
        if self._rules is None:
            return [Token(token, text)]
        self._held.append((token, text))
        out: list[Token] = []
        while (found := self._next_tag()) is not None:
            out += found
        return out + (self._of_call() if self._call else self._of_text())

    def flush(self) -> list[Token]:
        """What is still withheld, for an answer that has ended."""
        is_nothing = not self._call and self._calls and self._blank and not self._text.strip()
        held, self._held = self._held, []
        return [Token(token, "" if is_nothing else text, self._call) for token, text in held]

    def drop(self) -> None:
        """A stop string has ended the answer."""
        self._held = []

    @property
    def _text(self) -> str:
        return "".join(piece for _, piece in self._held)

    def _next_tag(self) -> list[Token] | None:
        """Everything up to the end of the next tag; None where there is none."""
        if self.enough:
            return None
        tag = END_OF_CALL if self._call else CALL
        start = self._text.find(tag)
        if start < 0:
            return None
        return self._close(start) if self._call else self._open(start)

    def _open(self, start: int) -> list[Token]:
        before = self._text[:start].removesuffix("\n")
        if self._blank and not before.strip():
            before = ""
        out = self._take(len(before))
        gap = self._take(start - len(before) + len(CALL))
        self._calls += 1
        self._call = self._calls
        return out + [Token(token.id, "", self._call) for token in gap]

    def _close(self, start: int) -> list[Token]:
        call, out = self._call, self._take(start)
        self._call, self._blank = 0, True
        *tag, last = [Token(token.id, "", call) for token in self._take(len(END_OF_CALL))]
        return [*(Token(t.id, t.text, call) for t in out), *tag, Token(last.id, "", call, call_done=True)]

    def _of_call(self) -> list[Token]:
        text = self._text
        return [Token(t.id, t.text, self._call) for t in self._take(len(text) - overlap(text, END_OF_CALL))]

    def _of_text(self) -> list[Token]:
        text = self._text
        known = len(text) - max(overlap(text, CALL), overlap(text, f"\n{CALL}"))
        if self._blank and not text[:known].strip():
            return []
        self._blank = False
        return self._take(known)

    def _take(self, length: int) -> list[Token]:
        """The first `length` characters; a token that goes on behind them is split."""
        out: list[Token] = []
        while self._held and len(self._held[0][1]) <= length:
            token, text = self._held[0]
            if not text and not length:
                break  # its text is yet to come, with the next token
            length -= len(text)
            out.append(Token(token, text))
            self._held.pop(0)
        if length:
            token, text = self._held[0]
            out.append(Token(token, text[:length]))
            self._held[0] = (token, text[length:])
        return out
