"""Audio in and out, in any pieces."""

from __future__ import annotations

import numpy as np
import pytest

from services.gateway.api.openai.errors import ApiError
from services.gateway.api.openai.realtime.formats import PCM, InputDecoder, OutputEncoder, read_base64
from services.gateway.media import g711

TONE = (8000 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)).astype("<i2").tobytes()


@pytest.mark.parametrize("size", [1, 3, 4801, 100_000])
def test_pieces_of_any_length_are_the_same_samples(size):
    decoder = InputDecoder()
    pieces = [decoder.decode(TONE[start : start + size], PCM) for start in range(0, len(TONE), size)]
    assert b"".join(pieces) == TONE and not any(len(piece) % 2 for piece in pieces)


def test_audio_at_the_clients_rate_is_passed_on_in_pieces():
    encoder = OutputEncoder(PCM, 24_000)
    pieces = [*encoder.feed(TONE), *encoder.finish()]
    assert b"".join(pieces) == TONE and max(map(len, pieces)) <= 9600


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_a_tone_is_the_same_tone_on_the_telephone(law):
    encoder = OutputEncoder({"type": f"audio/{law}"}, 24_000)
    coded = b"".join([*encoder.feed(TONE[:20_000]), *encoder.feed(TONE[20_000:]), *encoder.finish()])
    assert len(coded) == 8000
    samples = np.frombuffer(g711.decode(coded, law), "<i2")[1000:7000]
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) == 330  # 440 Hz in 0.75 s
    assert abs(samples).max() == pytest.approx(8000, rel=0.05)


def test_what_is_no_base64_is_refused():
    with pytest.raises(ApiError) as caught:
        read_base64("a&b", "audio")
    assert (caught.value.code, caught.value.param) == ("invalid_value", "audio")
