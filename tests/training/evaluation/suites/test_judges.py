"""What judges write, compared with what was said: the same words in any spelling."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.suites.synthesis import Judge
from training.evaluation.suites.world.judges import open_words


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("1, 2, 3.", "one, two, three."),
        ("2-3-4.", "two, three, four."),
        ("C-A-T.", "c, a, t."),
        ("CAT", "c, a, t."),
        ("12 - 5 is 7.", "twelve minus five is seven."),
        ("11 + 5 = 16", "eleven plus five is sixteen."),
        ("What's the color at the center?", "what's the colour at the centre?"),
        ("It is, at the Left...", "it is at the left."),
    ],
)  # fmt: skip
def test_transcripts_of_any_words_are_written_as_the_world_writes(written: str, said: str):
    assert open_words(written) == open_words(said)


def test_what_is_said_keeps_its_words():
    assert open_words("a big star at the top left, so no.") == "a big star at the top left so no"
    assert open_words("21 stars") == "21 stars"


def test_the_error_rate_is_that_of_all_words():
    heard = {0.0: "one 2", 1.0: "three"}
    judge = Judge(lambda audio, rate: heard[float(audio[0])], open_words)
    spoken = [("one, two, two.", np.zeros(1, np.float32)), ("three.", np.ones(1, np.float32))]
    assert judge.error_rate(spoken, 16_000) == 25
