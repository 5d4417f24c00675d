"""The microphone of a client: detected questions, or those whose end the client says."""

from __future__ import annotations

import numpy as np
import pytest

from services.gateway.conversation.input_buffer import InputBuffer
from services.gateway.events.session import SessionConfig
from services.gateway.media.detector import Detector
from services.gateway.settings import MediaSettings, VadSettings

MANUAL = SessionConfig(manual_turns=True)


def buffer(config: SessionConfig = MANUAL) -> InputBuffer:
    return InputBuffer(config, 16_000, MediaSettings(), VadSettings(), Detector())


async def test_manual_audio_passes_as_it_comes():
    microphone = buffer()
    (segment,) = await microphone.feed(bytes(640), answering=False)
    assert (segment.kind, segment.audio) == ("more", bytes(640))
    assert microphone.finish() == b"" and not microphone.detects and not microphone.speaking


async def test_the_end_of_a_question_brings_what_the_resampler_holds_and_the_next_begins_anew():
    chunk = np.random.default_rng(0).integers(-1000, 1000, 24_000).astype("<i2").tobytes()  # 1 s
    microphone, questions = buffer(SessionConfig(manual_turns=True, input_sample_rate=24_000)), []
    for _ in range(2):
        (segment,) = await microphone.feed(chunk, answering=False)
        assert len(segment.audio) < 32_000
        questions.append(segment.audio + microphone.finish())
    assert len(questions[0]) == 32_000 and questions[0] == questions[1]


async def test_a_detected_question_can_be_ended_by_the_client(spoken_question):
    microphone = buffer(SessionConfig())
    assert microphone.detects and not microphone.speaking
    audio = spoken_question.tobytes()[:30_000]
    segments = list(await microphone.feed(audio, answering=False))
    assert segments[0].kind == "start" and microphone.speaking
    whole = b"".join(segment.audio for segment in segments) + microphone.finish()
    assert audio.endswith(whole) and not microphone.speaking


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({"instructions": "be brief", "text_only": True}, True),
        ({"manual_turns": False}, False),
        ({"input_sample_rate": 48_000}, False),
    ],
)
def test_it_fits_until_the_microphone_changes(change, fits):
    assert buffer().fits(MANUAL.model_copy(update=change)) == fits


def test_a_rate_that_is_not_served_is_refused():
    with pytest.raises(ValueError, match="11025 Hz"):
        buffer(SessionConfig(input_sample_rate=11_025))
