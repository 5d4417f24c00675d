"""LibriSpeech: every line of a transcript with its file, splits apart, what is missing counted."""

import pytest

from tests.training.data.converters.corpora import sound, text
from training.data.media import read_utterance
from training.data.sources.speech import open_speech


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "LibriSpeech"
    chapter = root / "train-clean-100/103/1240"
    for number, seconds in enumerate((0.2, 0.3, 0.2)):
        sound(chapter / f"103-1240-000{number}.flac", seconds)
    lines = ["103-1240-0000 CHAPTER ONE", "103-1240-0001 MISSUS RACHEL'S HOUSE", "103-1240-0009 NOT THERE"]
    text(chapter / "103-1240.trans.txt", "\n".join(lines) + "\n")
    sound(root / "dev-clean/84/121123/84-121123-0000.flac")
    text(root / "dev-clean/84/121123/84-121123.trans.txt", "84-121123-0000 GO DO YOU HEAR\n")
    speakers = "103  | F | train-clean-100  | 25.1 | A B\n26   | M | train-clean-100  | 2.0 | C|D\n"
    text(root / "SPEAKERS.TXT", "; a comment | with | bars\n" + speakers)
    return root


def test_utterances_are_read_back(corpus, converted):
    result = converted("librispeech", corpus)
    source = result.opened("train-clean-100", open_speech)
    first, second = source[0], source[1]
    assert (first.id, first.text, first.speaker) == ("103-1240-0000", "chapter one", "103")
    assert (second.text, second.seconds) == ("missus rachel's house", 0.3)
    assert source.group(0) == "103"
    assert len(read_utterance(second, 16_000)) == 4800
    assert result.sources["train-clean-100"]["kind"] == "transcriptions"


def test_dev_and_test_are_written_and_kept_out_of_the_mix(corpus, converted):
    result = converted("librispeech", corpus.parent)  # the folder that the archives were unpacked in
    assert list(result.sources) == ["train-clean-100"]
    assert [line["text"] for line in result.lines("dev-clean")] == ["go do you hear"]
    assert str(result.out / "dev-clean.jsonl") in (result.out / "mix.yaml").read_text()


def test_what_is_missing_is_named(corpus, converted):
    result = converted("librispeech", corpus)
    assert {(bad["reason"], bad["id"]) for bad in result.bad} == {
        ("no transcript", "103-1240-0002"),
        ("no audio file", "103-1240-0009"),
        ("missing speaker", "26"),
    }
    train = result.summary.parts[1]
    assert (train.records, train.bad, train.speakers) == (2, 3, {"103"})
    assert "2 records, 0.00 hours, 1 speakers, 16 kHz, 3 bad" in str(result.summary)


def test_another_folder_is_refused(tmp_path, converted):
    (tmp_path / "train-clean-100").mkdir()
    with pytest.raises(ValueError, match=r"not of the layout librispeech: it needs folders like train-clean-100/"):
        converted("librispeech", tmp_path)
    with pytest.raises(ValueError, match="there is no folder"):
        converted("librispeech", tmp_path / "none")
