"""The built-in text-to-speech of `parley data speak`: espeak-ng, each text in a process of its own.

The library's state goes on from text to text, so the same text would sound otherwise after a resume. A process is
forked from one that has loaded the library and said nothing.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

import numpy as np

from training.data.speak.engine import SpeechError, heard, one_line

WORDS_A_MINUTE = 160  # at speed 1
SLOWEST, FASTEST = 80, 450  # words a minute, of the library
SPEEDS = (0.75, 1.3)  # what is drawn if nothing is said: 120 to 208 words a minute


def voices() -> tuple[str, ...]:
    """Those that are used if none is named."""
    from training.data.world.voices import SEEN

    return SEEN


class EspeakEngine:
    """Starts the process that others are forked from."""

    def __init__(self, timeout: float = 120.0):
        self.timeout = timeout
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", "cli.data.espeak_speaker"])

    def describe(self) -> dict[str, str]:
        return {"engine": "espeak-ng"}

    def speak(self, text: str, voice: str, speed: float) -> np.ndarray:
        from cli.data.espeak_speaker import answer

        words = round(min(max(WORDS_A_MINUTE * speed, SLOWEST), FASTEST))
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=answer, args=(theirs, one_line(text), voice, words), daemon=True)
        process.start()
        theirs.close()
        try:
            result = self._received(ours)
        finally:
            process.kill()
            process.join()
            ours.close()
        if isinstance(result, str):
            raise ValueError(result)
        return heard(result)

    def close(self) -> None:
        return

    def _received(self, connection: Connection) -> np.ndarray | str:
        try:
            if connection.poll(self.timeout):
                return connection.recv()
        except EOFError:
            raise SpeechError("espeak-ng ended without an answer") from None
        raise SpeechError(f"espeak-ng was not done after {self.timeout:g} s")
