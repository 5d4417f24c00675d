"""Notices a server that runs and answers nothing: it was stopped, waits for itself, or computes for ever."""

from __future__ import annotations

import time
import urllib.error

from services.local import state

PERIOD = 2.0  # seconds from one question to the next
ANSWER_SECONDS = 2.0
QUESTIONS = 3  # in a row without an answer


class Watched:
    """A page that is asked for again and again."""

    def __init__(self, url: str, authority: str = ""):
        """`authority`: PEM file to trust."""
        self._url, self._authority = url, authority
        self._asked = 0.0  # `time.monotonic()`
        self._silent = 0  # questions in a row

    def is_hung(self) -> bool:
        """Asks where it is time to. True once, for each time that it has been silent for long."""
        if time.monotonic() - self._asked < PERIOD:
            return False
        self._asked = time.monotonic()
        self._silent = 0 if _answers(self._url, self._authority) else self._silent + 1
        if self._silent < QUESTIONS:
            return False
        self._silent = 0
        return True


def _answers(url: str, authority: str) -> bool:
    """False where somebody listens and says nothing in time; nobody hangs where nobody listens."""
    try:
        state.fetch(url, ANSWER_SECONDS, authority)
    except TimeoutError:
        return False
    except urllib.error.URLError as error:
        return not isinstance(error.reason, TimeoutError)
    except OSError:
        return True
    return True
