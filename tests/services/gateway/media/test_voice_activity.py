"""Where speech starts and ends in a client's audio."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from services.gateway.media.detector import Detector
from services.gateway.media.silero import FRAME_BYTES
from services.gateway.media.voice_activity import Segment, VoiceActivity
from services.gateway.settings import VadSettings


def chunks(data: bytes, size: int):
    return [data[at : at + size] for at in range(0, len(data), size)]


def with_silence(speech: np.ndarray, before: float, after: float) -> bytes:
    noise = np.random.default_rng(0).normal(0, 20, round((before + after) * 16_000) + len(speech))
    at = round(before * 16_000)
    noise[at : at + len(speech)] += speech
    return noise.astype("<i2").tobytes()


def voice_activity(settings: VadSettings | None = None) -> VoiceActivity:
    return VoiceActivity(settings or VadSettings(), 16_000, Detector())


async def found(vad: VoiceActivity, audio: bytes, size: int = 1280, **options) -> list[Segment]:
    return [segment for chunk in chunks(audio, size) for segment in await vad.feed(chunk, **options)]


async def test_a_question_is_found_with_its_first_syllable(spoken_question):
    audio = with_silence(spoken_question, 1.0, 1.5)
    vad = voice_activity()
    segments = await found(vad, audio)
    kinds = [part.kind for part in segments]
    assert kinds.count("start") == kinds.count("end") == 1 and not vad.speaking
    question = b"".join(part.audio for part in segments)
    at = audio.find(question)
    assert at >= 0, "the question is one piece of what was said"
    begin, end = at / 32_000, (at + len(question)) / 32_000
    assert 0.4 <= begin <= 1.05 and end >= 1.0 + len(spoken_question) / 16_000 - 0.3


async def test_silence_after_a_pause_belongs_to_a_question_only_if_it_goes_on(spoken_question):
    half = len(spoken_question) // 2
    speech = np.concatenate([spoken_question[:half], np.zeros(6400, spoken_question.dtype), spoken_question[half:]])
    audio = with_silence(speech, 1.0, 1.5)
    segments = await found(voice_activity(), audio)
    kinds = [part.kind for part in segments if part.kind != "more"]
    assert kinds[0] == "start" and kinds.count("pause") >= 2 and kinds[-2:] == ["pause", "end"]
    question = b"".join(part.audio for part in segments)
    assert question in audio, "the silence within it is there, and what follows it is not"
    end = segments[-1]
    assert end.silent_seconds >= VadSettings().end_seconds - 0.032 and end.audio == b""
    assert len(question) / 32_000 < len(speech) / 16_000 + 0.3 + 0.2


async def test_how_long_it_waits_may_change_while_it_waits(spoken_question):
    audio = with_silence(spoken_question, 1.0, 3.0)
    quick = await found(voice_activity(), audio, end_seconds=lambda: 0.1)
    assert quick[-1].silent_seconds < 0.3
    patient = await found(voice_activity(), audio, end_seconds=lambda: 1.5)
    assert 1.4 < patient[-1].silent_seconds < 1.6


async def test_two_questions_are_two_and_silence_is_none(spoken_question):
    audio = with_silence(spoken_question, 0.5, 1.2) * 2
    kinds = [part.kind for part in await found(voice_activity(), audio, 3000) if part.kind in ("start", "end")]
    assert kinds == ["start", "end", "start", "end"]
    noise = np.random.default_rng(1).normal(0, 200, 48_000).astype("<i2").tobytes()
    assert list(await voice_activity().feed(noise)) == []


async def test_a_short_word_does_not_interrupt_an_answer_and_is_told(spoken_question):
    settings = VadSettings(barge_in_seconds=0.8)
    burst = with_silence(spoken_question[4000:8800], 0.5, 1.0)  # 0.3 s of speech
    kinds = [part.kind for part in await found(voice_activity(settings), burst, answering=True)]
    assert kinds[:2] == ["maybe", "no"] and "start" not in kinds
    assert next(await voice_activity(settings).feed(burst, answering=False)).kind == "start"
    long = with_silence(spoken_question, 0.5, 1.0)
    kinds = [part.kind for part in await found(voice_activity(settings), long, answering=True)]
    assert kinds[kinds.index("start") - 1] == "maybe"


class Scripted:
    """A detector, and its microphone, that says what it is told of each frame."""

    def __init__(self, probabilities: Iterator[float]):
        self._probabilities = probabilities

    def open(self) -> Scripted:
        return self

    async def probabilities(self, frames: bytes) -> list[float]:
        return list(itertools.islice(self._probabilities, len(frames) // FRAME_BYTES))

    def reset(self) -> None: ...


async def said_while_answering(shape: str) -> list[str]:
    """`shape`: speech (#) or none (.) in each frame. → what is found, without `more`."""
    vad = VoiceActivity(VadSettings(), 16_000, Scripted(iter(0.9 if each == "#" else 0.1 for each in shape)))
    return [part.kind for part in await found(vad, bytes(FRAME_BYTES * len(shape)), answering=True)]


@pytest.mark.parametrize("shape", ["..########", "######.....##..######.", "##.##.##.##"])
async def test_a_short_sentence_with_plosives_interrupts_an_answer(shape):
    kinds = await said_while_answering(shape)
    assert kinds.count("start") == 1
    assert kinds[: kinds.index("start")] in (["maybe"], ["maybe", "no", "maybe"])


@pytest.mark.parametrize("shape", ["#######" + 20 * ".", "###...###...###...", 10 * "##..."])
async def test_short_sounds_with_silence_between_interrupt_nothing(shape):
    kinds = await said_while_answering(shape)
    assert "start" not in kinds and kinds[-1] == "no"


async def test_what_is_kept_begins_before_the_first_frame_of_speech():
    frames = [bytes([number]) * FRAME_BYTES for number in range(40)]
    shape = 20 * "." + "####..######"
    vad = VoiceActivity(VadSettings(), 16_000, Scripted(iter(0.9 if each == "#" else 0.1 for each in shape)))
    segments = await found(vad, b"".join(frames), FRAME_BYTES, answering=True)
    start = next(segment for segment in segments if segment.kind == "start")
    preroll = round(VadSettings().preroll_seconds / 0.032)
    assert start.audio == b"".join(frames[20 - preroll : 30]) and start.at_ms == round(32 * (20 - preroll))


async def test_an_hour_of_noise_holds_no_more_than_a_minute():
    blips = itertools.cycle([0.9, 0.9, 0.1, 0.4, 0.0])  # too short to be speech
    vad, second = VoiceActivity(VadSettings(), 16_000, Scripted(blips)), bytes(32_000)

    async def listen(seconds: int) -> int:
        for _ in range(seconds):
            assert [segment.kind for segment in await vad.feed(second, answering=True)].count("start") == 0
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        after_a_minute = await listen(60)
        assert await listen(3540) < after_a_minute + 50_000
    finally:
        tracemalloc.stop()


async def test_a_long_wait_holds_no_more_than_the_wait():
    vad = VoiceActivity(VadSettings(), 16_000, Scripted(itertools.chain([0.9] * 10, itertools.repeat(0.0))))
    segments = [each for _ in range(20) for each in await vad.feed(bytes(32_000), end_seconds=lambda: 10.0)]
    assert [each.kind for each in segments if each.kind != "more"] == ["start", "pause", "end"]
    assert segments[-1].silent_seconds == pytest.approx(10.0, abs=0.02) and not vad.speaking


async def test_a_wait_changes_at_the_next_frame_also_within_a_chunk():
    """The second pause of a chunk is another one than the first, and its wait another one."""
    script = [0.9] * 10 + [0.0] * 5 + [0.9] * 3 + [0.0] * 20
    vad = VoiceActivity(VadSettings(), 16_000, Scripted(iter(script)))
    waits, kinds = [1.0, 0.2], []
    audio = bytes(FRAME_BYTES * len(script))
    for segment in await vad.feed(audio, end_seconds=lambda: waits[kinds.count("pause") - 1]):
        kinds.append(segment.kind)
    assert kinds.count("pause") == 2 and kinds[-1] == "end"
    assert segment.silent_seconds == pytest.approx(0.2, abs=0.02)


def test_a_rate_that_the_network_cannot_take_is_refused():
    with pytest.raises(ValueError, match="use manual turns"):
        VoiceActivity(VadSettings(), 24_000, Detector())
