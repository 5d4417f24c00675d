from types import SimpleNamespace

import pytest

from parley.checkpoints import load_model
from parley.text.clauses import split
from services.speech_decoder.alignment import Alignment

CLAUSE = split(range(27, 32), [" i", " am", " par", "ley", "."])[0]


def test_text_grows_by_whole_words(tiny_checkpoint):
    model = load_model(tiny_checkpoint, ("speech_decoder",))
    alignment = Alignment(CLAUSE, model.speech_decoder, 40)
    texts = [alignment.text_at(frame) for frame in range(40)]
    assert texts[0] == "" and set(texts) == {"", " i", " i am"}


@pytest.mark.parametrize(("frame_rate", "ends"), [(14, (2, 5)), (28, (4, 10)), (42, (6, 15))])
def test_without_token_durations_text_follows_the_frame_rate_of_the_codec(frame_rate, ends):
    decoder = SimpleNamespace(config=SimpleNamespace(position="plain"))
    alignment = Alignment(CLAUSE, decoder, frame_rate)
    assert [alignment.text_at(end + after) for end in ends for after in (-1, 0)] == ["", " i", " i", " i am"]


def test_chinese_text_grows_by_whole_tokens_at_the_speed_of_its_characters():
    decoder = SimpleNamespace(config=SimpleNamespace(position="plain"))
    alignment = Alignment(split(range(4), ["我", "喜欢", "你", "。"])[0], decoder, 52)  # 10 frames a character
    assert [alignment.text_at(frame) for frame in (9, 10, 29, 30, 200)] == ["", "我", "我", "我喜欢", "我喜欢"]
