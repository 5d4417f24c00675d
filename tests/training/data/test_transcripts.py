"""Transcripts that the CTC head cannot write whole are left out, so that 2.2 does not fail on them."""

import pytest

from parley.text.ctc import CtcVocabulary
from training.data.sample import Sample
from training.data.transcripts import with_writable_transcripts

LETTERS = CtcVocabulary(" abcdefghijklmnopqrstuvwxyz'")


def transcripts(vocabulary, *texts) -> list[str | None]:
    content = [{"type": "audio", "audio": "a.wav", "transcript": text} for text in texts]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "yes"}]
    sample = with_writable_transcripts(Sample(messages, "x"), vocabulary)
    assert sample.messages[1] == messages[1] and len(sample.messages[0]["content"]) == len(texts)
    return [part.get("transcript") for part in sample.messages[0]["content"]]


@pytest.mark.parametrize("text", ["What is this?", "IT’S A CAT", "Yes - or no…"])
def test_what_the_head_writes_stays(text):
    assert transcripts(LETTERS, text) == [text]
    assert LETTERS.encode(text)


@pytest.mark.parametrize("text", ["What is 3 + 5?", "你好吗", "Où est-il, à Paris?", "?!", "2+2"])
def test_what_it_does_not_write_whole_is_left_out(text):
    assert transcripts(LETTERS, text, "yes") == [None, "yes"]


def test_other_alphabets_and_no_head():
    assert transcripts(CtcVocabulary(" 你好吗"), "你好吗?") == ["你好吗?"]
    assert transcripts(None, "yes") == [None]
