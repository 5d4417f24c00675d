"""Where the speech encoder's forward pass runs, and where the state of utterances is."""

from __future__ import annotations

from typing import Protocol

from parley.models.speech_step import StepRunner


class Backend(StepRunner, Protocol):
    """A runner of steps. `alive`: whether it can compute; read by any thread."""

    alive: bool

    def shut_down(self) -> None:
        """After the last step; not called on an event loop."""
