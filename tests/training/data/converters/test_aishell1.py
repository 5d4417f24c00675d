"""AISHELL-1: one transcript for all splits, Chinese without spaces, packed speakers refused."""

import pytest

from tests.training.data.converters.corpora import sound, text
from training.data.media import read_utterance
from training.data.sources.speech import open_speech

LINES = """\
BAC009S0002W0122 而 对 楼市 成交 抑制
BAC009S0002W0123 ｔ 恤
BAC009S0002W0124 没有 声音
BAC009S0724W0121 广州市
BAC009S0901W0121 没有 解压
"""


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "data_aishell"
    text(root / "transcript/aishell_transcript_v0.8.txt", LINES)
    for name in ("BAC009S0002W0122", "BAC009S0002W0123", "BAC009S0002W0200"):
        sound(root / f"wav/train/S0002/{name}.wav")
    sound(root / "wav/dev/S0724/BAC009S0724W0121.wav", 0.5)
    return root


def test_utterances_are_read_back(corpus, converted):
    result = converted("aishell-1", corpus)
    source = result.opened("train", open_speech)
    assert [source[index].text for index in range(len(source))] == ["而对楼市成交抑制", "t恤"]
    assert (source[0].speaker, source[0].id) == ("S0002", "BAC009S0002W0122")
    assert len(read_utterance(source[0], 16_000)) == 3200
    assert result.sources["train"]["kind"] == "transcriptions"


def test_splits_are_apart_and_what_is_missing_is_named(corpus, converted):
    result = converted("aishell-1", corpus.parent)
    assert list(result.sources) == ["train"]
    assert [line["text"] for line in result.lines("dev")] == ["广州市"]
    assert {(bad["reason"], bad["id"]) for bad in result.bad} == {
        ("no transcript", "BAC009S0002W0200"),
        ("no audio file", "BAC009S0002W0124"),
    }


def test_packed_speakers_are_refused(corpus, converted):
    (corpus / "wav/S0901.tar.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 speakers are still packed, S0901.tar.gz for one: cd .*tar xzf"):
        converted("aishell-1", corpus)
