"""LibriTTS: both texts, 24 kHz, broken and hidden files."""

import pytest

from tests.training.data.converters.corpora import sound, text
from training.data.media import read_utterance
from training.data.sources.speech import open_speech


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "LibriTTS"
    chapter = root / "train-clean-100/103/1241"
    for name, spoken, printed in (
        ("103_1241_000000_000001", "Mister Thomas had twelve.", "Mr. Thomas had 12."),
        ("103_1241_000000_000002", "Yes.\n", "Yes."),
    ):
        sound(chapter / f"{name}.wav", 0.25, 24_000)
        text(chapter / f"{name}.normalized.txt", spoken)
        text(chapter / f"{name}.original.txt", printed)
    text(chapter / "103_1241_000000_000003.wav", "not a wav file")
    text(chapter / "103_1241_000000_000003.normalized.txt", "Broken.")
    sound(chapter / "103_1241_000000_000004.wav", 0.0, 24_000)
    text(chapter / "103_1241_000000_000004.normalized.txt", "Nothing.")
    text(chapter / "._103_1241_000000_000001.wav", "macOS")
    return root


def test_utterances_are_read_back_at_24_khz(corpus, converted):
    result = converted("libritts", corpus)
    source = result.opened("train-clean-100", open_speech)
    assert [source[index].text for index in range(len(source))] == ["Mister Thomas had twelve.", "Yes."]
    assert (source[0].speaker, source[0].seconds) == ("103", 0.25)
    assert len(read_utterance(source[0], 24_000, lowest_rate=24_000)) == 6000
    assert result.sources["train-clean-100"]["kind"] == "speech"
    assert "24 kHz" in str(result.summary)


def test_the_text_as_printed(corpus, converted):
    result = converted("libritts-original", corpus)
    assert [line["text"] for line in result.lines("train-clean-100")] == ["Mr. Thomas had 12.", "Yes."]


def test_broken_files_are_counted_and_hidden_ones_are_none(corpus, converted):
    result = converted("libritts", corpus)
    assert {(bad["reason"], bad["id"][-1]) for bad in result.bad} == {("unreadable audio", "3"), ("empty audio", "4")}
