"""Between the supervisor and the process that started it: a pipe whose end means stop, and progress as JSON lines."""

from __future__ import annotations

import json
import os
import select

_stop_requested = False


def stop_requested(seconds: float) -> bool:
    """Waits up to `seconds`; True once standard input has closed or `request_stop` was called."""
    if not _stop_requested and select.select([0], [], [], seconds)[0] and not os.read(0, 1):
        request_stop()
    return _stop_requested


def request_stop(*_) -> None:
    """A handler of signals."""
    global _stop_requested
    _stop_requested = True


def report(text: str, event: str = "progress") -> None:
    """Prints an event: `progress`, `ready` or `failed`."""
    try:
        print(json.dumps({"event": event, "text": text}), flush=True)
    except BrokenPipeError:  # whoever read it has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
