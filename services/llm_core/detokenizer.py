"""Token ids to text as they come: never half a character, never a piece of a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

INCOMPLETE = "\ufffd"  # what a decoder writes for the first bytes of a character
MAX_CHARACTER_TOKENS = 4  # UTF-8 has at most four bytes a character; longer means the text really is not UTF-8


class Detokenizer:
    """Text that each token adds: a window of the last tokens is decoded with and without the new one."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._window = 0  # the window starts here …
        self._read = 0  # … and up to here its text has been given out

    def push(self, token: int) -> str:
        """The new text; "" while a character is incomplete."""
        self._ids.append(token)
        before = self._tokenizer.decode(self._ids[self._window : self._read])
        after = self._tokenizer.decode(self._ids[self._window :])
        if after.endswith(INCOMPLETE) and len(self._ids) - self._read < MAX_CHARACTER_TOKENS:
            return ""
        self._window, self._read = self._read, len(self._ids)
        return after[len(before) :]


class StopWatch:
    """Holds back tokens whose text may be the beginning of a stop string."""

    def __init__(self, stops: Sequence[str]):
        self._stops = tuple(stops)
        self._held: list[tuple[int, str]] = []

    def push(self, token: int, text: str) -> tuple[list[tuple[int, str]], bool]:
        """(tokens that may go out, whether a stop string is complete). What follows a stop string never goes out."""
        if not self._stops:
            return [(token, text)], False
        self._held.append((token, text))
        held = "".join(piece for _, piece in self._held)
        found = [at for at in (held.find(stop) for stop in self._stops) if at >= 0]
        if found:
            return self._cut(min(found)), True
        safe = len(held) - max(_overlap(held, stop) for stop in self._stops)
        return self._release(safe), False

    def flush(self) -> list[tuple[int, str]]:
        """The answer ended without a stop string: what was held back goes out."""
        held, self._held = self._held, []
        return held

    def _release(self, length: int) -> list[tuple[int, str]]:
        """Tokens that lie wholly within the first `length` characters."""
        out = []
        while self._held and len(self._held[0][1]) <= length:
            if not self._held[0][1] and length == 0:
                break  # its text is yet to come, with the next token
            length -= len(self._held[0][1])
            out.append(self._held.pop(0))
        return out

    def _cut(self, length: int) -> list[tuple[int, str]]:
        """The first `length` characters; the token in which they end keeps the front of its text."""
        out = self._release(length)
        rest = length - sum(len(text) for _, text in out)
        if rest > 0:
            token, text = self._held[0]
            out.append((token, text[:rest]))
        self._held = []
        return out


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
