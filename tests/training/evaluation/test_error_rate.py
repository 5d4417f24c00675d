"""Word and character error rates: what is compared, and over what they are a mean."""

from __future__ import annotations

import jiwer
import pytest

from training.evaluation.error_rate import ErrorRate, chinese, english, language_of


def test_english_is_compared_as_whispers_paper_says():
    assert english("MISTER QUILTER'S COLOUR") == english("Mr. Quilter's color")
    assert english("It's, um, twenty-five dollars!") == "it is $25"


def test_chinese_is_compared_by_its_characters():
    assert chinese("甚至 出现，交易 几乎 停滞 的 情况。") == "甚至出现交易几乎停滞的情况"
    assert chinese("ＡＩ 第 １ 名\n") == "ai第1名"


def test_a_rate_is_of_the_whole_set_and_not_a_mean_of_utterances():
    pairs = [
        ("yes", "no"),
        ("the red square is left of the blue triangle", "the red square is left of a blue triangle"),
    ]
    rate = ErrorRate.of("en")
    for reference, transcript in pairs:
        rate.add(reference, transcript)
    assert rate.percent == pytest.approx(100 * jiwer.wer(*map(list, zip(*pairs, strict=True))))
    assert (rate.errors, rate.length, rate.utterances) == (2, 10, 2)


def test_characters_are_counted_in_chinese():
    rate = ErrorRate.of("zh")
    rate.add("交易 几乎 停滞", "交易，几呼停滞了")
    assert (rate.unit, rate.errors, rate.length) == ("CER", 2, 6)


def test_words_that_nobody_said_are_errors():
    rate = ErrorRate.of("en")
    rate.add("um", "yes it is")
    with pytest.raises(ValueError, match="have no words"):
        _ = rate.percent
    rate.add("yes", "")
    assert rate.percent == 400


@pytest.mark.parametrize(("text", "language"), [("甚至 AI 出现", "zh"), ("HE HOPED", "en"), ("12 3.", "en")])
def test_the_language_is_that_of_most_letters(text, language):
    assert language_of(text) == language
