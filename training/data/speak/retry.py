"""Another attempt when a text was not spoken: bounded, with growing pauses, none when all is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from training.data.speak.engine import SpeechError

LONGEST_PAUSE = 30.0  # seconds


@dataclass
class Retries:
    """How often and after what pauses a text is tried again."""

    attempts: int = 4
    pause: float = 0.5  # seconds before the second attempt; twice as long before each later one
    stopped: threading.Event = field(default_factory=threading.Event)

    def __call__(self, speak: Callable[[], np.ndarray]) -> np.ndarray:
        """What `speak` returns. Raises the last `SpeechError`."""
        for attempt in range(1, self.attempts + 1):
            try:
                return speak()
            except SpeechError as error:
                if not error.again or attempt == self.attempts or self.stopped.is_set():
                    raise
                pause = self.pause * 2 ** (attempt - 1) if error.after is None else error.after
            self.stopped.wait(min(pause, LONGEST_PAUSE))
        raise AssertionError("no attempt was made")
