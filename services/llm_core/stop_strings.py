"""Ends an answer at a stop string, of which no part is sent."""

from __future__ import annotations

from collections.abc import Sequence


class StopStringMatcher:
    """Withholds tokens whose text may be the beginning of a stop string."""

    def __init__(self, stops: Sequence[str]):
        self._stops = tuple(stops)
        self._held: list[tuple[int, str]] = []

    def push(self, token: int, text: str) -> tuple[list[tuple[int, str]], bool]:
        """(tokens that may be sent, whether a stop string is complete). What follows a stop string is never sent."""
        if not self._stops:
            return [(token, text)], False
        self._held.append((token, text))
        held = "".join(piece for _, piece in self._held)
        found = [start for start in (held.find(stop) for stop in self._stops) if start >= 0]
        if found:
            return self._cut(min(found)), True
        safe = len(held) - max(overlap(held, stop) for stop in self._stops)
        return self._release(safe), False

    def flush(self) -> list[tuple[int, str]]:
        """The tokens that were withheld, for an answer that ended without a stop string."""
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


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
