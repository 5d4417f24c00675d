"""G.711 against another implementation: libsndfile's."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from services.gateway.media import g711

SUBTYPES = {"pcmu": "ULAW", "pcma": "ALAW"}


@pytest.mark.parametrize("law", SUBTYPES)
def test_every_code_means_what_it_means_elsewhere(law):
    codes = bytes(range(256))
    raw = {"samplerate": 8000, "channels": 1, "format": "RAW", "subtype": SUBTYPES[law]}
    expected, _ = soundfile.read(io.BytesIO(codes), dtype="int16", **raw)
    assert np.array_equal(np.frombuffer(g711.decode(codes, law), "<i2"), expected)


@pytest.mark.parametrize("law", SUBTYPES)
def test_every_sample_gets_the_nearest_code(law):
    samples = np.arange(-32768, 32768).astype("<i2")
    back = np.frombuffer(g711.decode(g711.encode(samples.tobytes(), law), law), "<i2").astype(int)
    meanings = np.frombuffer(g711.decode(bytes(range(256)), law), "<i2").astype(int)
    nearest = np.abs(meanings[None] - samples.astype(int)[::7, None]).min(1)
    assert np.array_equal(np.abs(back[::7] - samples.astype(int)[::7]), nearest)
