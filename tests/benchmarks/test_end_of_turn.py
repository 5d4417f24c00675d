"""Where the benchmark of ends of turns finds them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.clip import Clip
from benchmarks.end_of_turn import Questions, Said, row
from benchmarks.manners import voiced
from parley.checkpoints import load_model
from services.gateway.media.detector import FRAME_SECONDS
from training.data.world.speech.espeak import speaker

PAUSE = np.zeros(6400, np.float32)  # 0.4 s


@pytest.fixture(scope="module")
def word() -> np.ndarray:
    return speaker().speak("hello", "en-us")


def said(*pieces: np.ndarray) -> Said:
    audio = np.concatenate([PAUSE, *pieces])
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    pcm = (np.clip(audio, -1, 1) * 32767).astype("<i2")
    return Said(Clip("", pcm, 16_000, voiced(audio)), file.getvalue())


async def test_a_wait_ends_a_question_there_and_a_shorter_one_cuts_it_off(word, tiny_checkpoint):
    questions = Questions([said(word, PAUSE, word)], known=0.0)
    await questions.read(load_model(tiny_checkpoint))
    pauses = questions.said[0].complete
    assert len(pauses) == 2 and all(0 < probability < 1 for probability in pauses.values())
    (whole,) = await questions.end(lambda _: 0.7)
    assert not whole.cut and whole.wait - whole.heard_late == pytest.approx(700, abs=1000 * FRAME_SECONDS)
    (cut,) = await questions.end(lambda _: 0.1)
    assert cut.cut and cut.wait < 0
    line = row("after", "all", [whole, cut])
    assert line["cut"] == "50.0%" and line["wait_p50_ms"] == whole.wait


async def test_what_is_said_of_a_pause_is_known_a_moment_later(word, tiny_checkpoint):
    waits = []
    for known in (0.0, 0.32):
        questions = Questions([said(word)], known)
        await questions.read(load_model(tiny_checkpoint))
        (end,) = await questions.end(lambda complete: 1.5 if complete is None else 0.1)
        waits.append(end.wait)
    assert 250 < waits[1] - waits[0] < 350
