"""Voice activity of many microphones in one call, compared with Silero's own network."""

from __future__ import annotations

import asyncio
from importlib.resources import files

import numpy as np
import onnxruntime
import pytest

from services.gateway.media.detector import FRAME_BYTES, OPEN_FRAMES, Detector, Microphone

FRAME = FRAME_BYTES // 2  # samples
RATE = 16_000
THRESHOLD = 0.5  # above it is speech


@pytest.fixture(scope="module")
def reference():
    """Silero's network: int16 [samples] → probability of each frame, one stream, one frame a call."""
    file = files("silero_vad.data") / "silero_vad.onnx"
    session = onnxruntime.InferenceSession(file)

    def run(samples: np.ndarray) -> np.ndarray:
        state, context, found = np.zeros((2, 1, 128), np.float32), np.zeros((1, 64), np.float32), []
        for frame in (samples.astype(np.float32) / 32768).reshape(-1, 1, FRAME):
            window = np.concatenate([context, frame], axis=1)
            probability, state = session.run(None, {"input": window, "state": state, "sr": np.array(RATE)})
            context = frame[:, -64:]
            found.append(probability.item())
        return np.array(found)

    return run


@pytest.fixture
async def detector():
    detector = Detector()
    yield detector
    detector.stop()


def whole(samples: np.ndarray) -> np.ndarray:
    return samples[: len(samples) // FRAME * FRAME].astype("<i2")


def noise(seconds: float, db: float, seed: int = 0) -> np.ndarray:
    """`db`: of full scale."""
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(0, 32768 * 10 ** (db / 20), round(seconds * RATE)))


async def heard(microphone: Microphone, samples: np.ndarray, frames: int = 1) -> np.ndarray:
    """Probabilities, asked for so many frames at a time."""
    audio, size, found = whole(samples).tobytes(), frames * FRAME_BYTES, []
    for at in range(0, len(audio), size):
        found += await microphone.probabilities(audio[at : at + size])
    return np.array(found)


def first_speech(probabilities: np.ndarray) -> int:
    """The frame with which three in a row are speech."""
    runs = np.convolve(probabilities >= THRESHOLD, np.ones(3), "valid")
    return int(np.flatnonzero(runs == 3)[0])


async def test_each_microphone_gets_what_the_network_alone_would_give(detector, reference, spoken_question):
    clips = [spoken_question, spoken_question[9000:], noise(1.5, -35) + 0.3, spoken_question[::-1] * 0.2]
    clips = [whole(clip + noise(len(clip) / RATE, -55, seed)) for seed, clip in enumerate(clips)]
    sizes = (1, 2, 7, 31)
    found = await asyncio.gather(*(heard(detector.open(), clip, size) for clip, size in zip(clips, sizes, strict=True)))
    for clip, probabilities in zip(clips, found, strict=True):
        np.testing.assert_allclose(probabilities, reference(clip), atol=1e-4)
    assert found[0].max() > 0.9 and found[2].max() < 0.3


async def test_what_is_silent_for_long_is_not_computed(detector):
    silence = np.zeros(4 * RATE)
    microphone = detector.open()
    found = await heard(microphone, silence)
    assert (found[:OPEN_FRAMES] > 0).all() and not found[OPEN_FRAMES:].any()
    in_large_chunks = await heard(detector.open(), silence, 31)
    np.testing.assert_allclose(in_large_chunks, found, atol=1e-6)
    assert (await heard(microphone, noise(0.5, -50)) > 0).all(), "a room is computed"


@pytest.mark.parametrize("level", [1.0, 0.1, 0.03], ids=["normal", "quiet", "very quiet"])
@pytest.mark.parametrize("room", [None, -75.0], ids=["digital silence", "quiet room"])
async def test_quiet_speech_after_silence_is_noticed_as_soon_as_without_the_gate(
    detector, reference, spoken_question, level, room
):
    before, speech = 5 * RATE, spoken_question * level * 0.3  # at 1.0 about −27 dB of full scale
    samples = np.concatenate([np.zeros(before), speech])
    if room is not None:
        samples = samples + noise(len(samples) / RATE, room)[: len(samples)]
    samples = whole(np.round(samples))
    found = await heard(detector.open(), samples, 2)
    assert (found == 0).sum() > 3 * RATE / FRAME, "most of the silence was not computed"
    assert first_speech(found) <= first_speech(reference(samples)) + 1


async def test_a_reset_while_frames_are_computed_begins_anew(detector, reference, spoken_question):
    clip = whole(spoken_question)
    microphone = detector.open()
    asked = asyncio.create_task(microphone.probabilities(clip[: 40 * FRAME].tobytes()))
    await asyncio.sleep(0)
    microphone.reset()
    np.testing.assert_allclose(await asked, reference(clip[: 40 * FRAME]), atol=1e-4)
    np.testing.assert_allclose(await heard(microphone, clip), reference(clip), atol=1e-4)


async def test_who_is_gone_is_not_waited_for_and_delays_nobody(detector, reference, spoken_question):
    clip = whole(spoken_question)
    gone = [asyncio.create_task(detector.open().probabilities(clip.tobytes())) for _ in range(20)]
    stays = asyncio.create_task(heard(detector.open(), clip))
    await asyncio.sleep(0.002)
    for task in gone:
        task.cancel()
    np.testing.assert_allclose(await stays, reference(clip), atol=1e-4)
    assert all(task.cancelled() for task in gone)


async def test_a_microphone_whose_answer_was_not_awaited_can_go_on(detector, spoken_question):
    audio = whole(spoken_question).tobytes()
    microphone = detector.open()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await microphone.probabilities(audio)
    assert len(await microphone.probabilities(audio)) == len(audio) // FRAME_BYTES


async def test_what_waits_when_the_detector_stops_is_given_up(spoken_question):
    detector = Detector()
    audio = whole(spoken_question).tobytes()
    asked = [asyncio.create_task(detector.open().probabilities(audio)) for _ in range(40)]
    await asyncio.sleep(0.02)
    detector.stop()
    done = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
    assert any(isinstance(each, asyncio.CancelledError) for each in done)
    assert any(isinstance(each, list) for each in done), "what was being computed is answered"
