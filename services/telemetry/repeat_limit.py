"""Warnings that come too often are left out and counted: a client's bad input must not fill the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

MOST = 20  # lines of one kind …
SECONDS = 10.0  # … in so long
MAX_KINDS = 1000


@dataclass
class _Window:
    """Of one kind of line."""

    ends: float
    left_out: int  # in the one before
    lines: int = 0


class RepeatLimit(logging.Filter):
    """Passes the first `MOST` warnings of a kind in `SECONDS`; `left_out` of the next one counts those that it did not.

    Of one kind are those of the same logger, event and status code. Errors, whose incident ids a client may ask about,
    are never left out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._clock = clock
        self._windows: dict[tuple, _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        fields = record.msg if isinstance(record.msg, dict) else {"event": record.msg}  # of a library: a text
        if record.levelno != logging.WARNING or "exception" in fields:
            return True
        window = self._window((record.name, fields.get("event"), fields.get("code")))
        record.left_out = window.left_out if not window.lines else 0
        window.lines += 1
        return window.lines <= MOST

    def _window(self, kind: tuple) -> _Window:
        now, before = self._clock(), self._windows.get(kind)
        if before is not None and now < before.ends:
            return before
        if len(self._windows) >= MAX_KINDS:
            self._windows.clear()
        left_out = max(0, before.lines - MOST) if before is not None else 0
        self._windows[kind] = _Window(now + SECONDS, left_out)
        return self._windows[kind]
