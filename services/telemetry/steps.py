"""The steps that one request goes through in an engine, as its thread marks them; spans are made of them at its end."""

from __future__ import annotations

import itertools
import time

from services.telemetry import tracing

MAX_MARKS = 32  # of one request; later ones are left out


class Steps:
    """A step lasts until the next one begins."""

    def __init__(self) -> None:
        self._marks: list[tuple[str, float]] = []  # (the step that begins, monotonic); empty: none does

    def begin(self, name: str) -> None:
        """The same again goes on with it."""
        if len(self._marks) < MAX_MARKS and (not self._marks or self._marks[-1][0] != name):
            self._marks.append((name, time.monotonic()))

    def end(self) -> None:
        """The last step is over."""
        self.begin("")

    def finished(self) -> list[tuple[str, float, float]]:
        """(name, began, ended) of each step; one that is not over ends now."""
        marks = [*self._marks, ("", time.monotonic())]
        return [(name, began, ended) for (name, began), (_, ended) in itertools.pairwise(marks) if name]

    def record(self, call: tracing.Span) -> None:
        """Adds them to the trace of the call that they were for, which may be over."""
        if tracing.is_traced(call):
            for name, began, ended in self.finished():
                tracing.record(name, began, ended, call)
