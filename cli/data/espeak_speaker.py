"""The process that others are forked from, each to say one text with espeak-ng (`cli.data.espeak`).

Importing this module loads the library, which seeds the noise of breathy voices by the clock.
"""

from __future__ import annotations

import ctypes
import signal
from multiprocessing.connection import Connection

from training.data.world.speech.espeak import speaker

speaker()


def answer(connection: Connection, text: str, voice: str, words_a_minute: int) -> None:
    """Sends the speech, float32 [samples] at 16 kHz, or what is wrong with the voice."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    speaker().library.espeak_ng_SetRandSeed(ctypes.c_long(0))
    try:
        connection.send(speaker().speak(text, voice, words_a_minute))
    except ValueError as error:
        connection.send(str(error))
