"""A user's speech for the speech stages: sorted without decoding, held out by source, bad records named."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from training.data import own_speech
from training.data.epochs import Epochs, Taken
from training.data.mix import MixSource
from training.data.own_speech import OwnSpeech, transcripts
from training.data.skipped import Skipped
from training.data.sources.speech import open_speech

RATE = 16_000


@pytest.fixture
def source(tmp_path):
    """A source of tones: utterance i lasts 0.1 + 0.01·i s, and its text is its number."""

    def of(name: str, count: int, *, rate: int = RATE, durations: bool = False, texts=str) -> MixSource:
        folder = tmp_path / name
        folder.mkdir()
        lines = []
        for i in range(count):
            seconds = 0.1 + 0.01 * i
            samples = 0.1 * np.sin(np.arange(round(seconds * rate)) * (0.05 + 0.01 * i))
            soundfile.write(folder / f"{i}.wav", samples, rate)
            line = {"audio": f"{i}.wav", "text": f"{name} {texts(i)}"}
            lines.append(json.dumps(line | ({"duration": seconds} if durations else {})))
        (folder / "speech.jsonl").write_text("\n".join(lines))
        return MixSource(name, "transcriptions", open_speech(folder / "speech.jsonl"))

    return of


def speech(tmp_path, *sources: MixSource, held_out: int = 2, allowed: bool = True, **options) -> OwnSpeech:
    counts = [len(one.source) - held_out for one in sources]
    epochs = Epochs([Taken(one.name, count, count) for one, count in zip(sources, counts, strict=True)], 0)
    learned = [(one, np.arange(count)) for one, count in zip(sources, counts, strict=True)]
    kept = [(one, np.arange(count, len(one.source))) for one, count in zip(sources, counts, strict=True)]
    return OwnSpeech(learned, kept, epochs, Skipped(tmp_path / "skipped.jsonl", allowed), RATE, **options)


@pytest.mark.parametrize("durations", [False, True])
def test_a_pass_has_every_utterance_once_with_its_length(source, tmp_path, durations):
    data = speech(tmp_path, source("a", 12, durations=durations))
    first, second = ([data.utterance(i)[1] for i in range(n, n + 10)] for n in (0, 10))
    assert sorted(first) == sorted(second) == sorted(f"a {i}" for i in range(10)) and first != second
    for index in (3, 17):
        waveform, text = data.utterance(index)
        assert waveform.dtype == np.float32 and abs(data.seconds(index) - len(waveform) / RATE) < 1e-3
        assert data.where(index) == f"speech.jsonl:{int(text.split()[1]) + 1}"
        assert data.speaker(index) == str(tmp_path / "a" / f"{text.split()[1]}.wav")  # nobody knows: the recording
    again = speech(tmp_path, data.samples.records[0].mixed)
    assert [again.utterance(i)[1] for i in range(20)] == first + second


def test_lengths_are_known_without_decoding_and_kept(source, tmp_path, monkeypatch):
    data = speech(tmp_path, source("a", 12))
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))
    first = [data.seconds(i) for i in range(10)]
    monkeypatch.setattr(soundfile, "info", lambda _: pytest.fail("read twice"))
    assert sorted(data.seconds(i) for i in range(10, 20)) == sorted(first)


def test_held_out_sets_are_the_sources(source, tmp_path):
    a, b = source("a", 12), source("b", 12)
    both = speech(tmp_path, a, b)
    assert both.measures == ("all", "a", "b")
    assert [both.held_out("b", i)[1] for i in range(3)] == ["b 10", "b 11", "b 10"]
    assert {both.held_out("all", i)[1] for i in range(4)} == {"a 10", "a 11", "b 10", "b 11"}
    assert speech(tmp_path, a).measures == ("a",)
    none = speech(tmp_path, a, held_out=0)
    assert none.measures == ("learned",) and none.held_out("learned", 3)[1] == "a 3"


def test_bad_records_are_replaced_and_named(source, tmp_path):
    mixed = source("a", 12, texts=lambda i: "bad" if i in (4, 11) else i)

    def check(text: str) -> None:
        if "bad" in text:
            raise ValueError(f"{text!r} cannot be written")

    soundfile.write(tmp_path / "a" / "0.wav", np.zeros(800), RATE)
    data = speech(tmp_path, mixed, check=check, longest=0.185)
    texts = [data.utterance(i)[1] for i in range(10)]
    assert not {"a bad", "a 9", "a 0"} & set(texts)
    reasons = [json.loads(line)["detail"] for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert sorted(reasons) == [
        "'a bad' cannot be written",
        "too long: 0.2 s; an utterance has at most 0.185 s",
        "too short: 0.050 s; an utterance has at least 0.1 s",
    ]
    with pytest.raises(ValueError, match="none of the 2 held-out utterances of a"):
        data.held_out("a", 0)
    with pytest.raises(ValueError, match=r"speech\.jsonl:12: 'a bad' cannot be written; .*--skip-bad"):
        speech(tmp_path, mixed, check=check, allowed=False).held_out("a", 1)


def test_a_bad_held_out_record_is_replaced_by_the_next(source, tmp_path):
    mixed = source("a", 12)
    (tmp_path / "a" / "10.wav").write_text("no sound")
    data = speech(tmp_path, mixed)
    assert [data.held_out("a", i)[1] for i in range(3)] == ["a 11", "a 11", "a 11"]
    assert data.skipped.count() == 1


def test_a_missing_file_has_no_length(source, tmp_path):
    mixed = source("a", 12)
    for i in range(10):
        (tmp_path / "a" / f"{i}.wav").unlink()
    assert [speech(tmp_path, mixed).seconds(i) for i in range(10)] == [0.0] * 10


def test_narrow_recordings_are_bad_where_the_full_band_is_needed(source, tmp_path):
    narrow, nearly = source("a", 12, rate=8_000), source("b", 12, rate=14_700)
    assert len(speech(tmp_path, narrow).utterance(0)[0]) > 1600
    assert speech(tmp_path, nearly, full_band=True).utterance(0)[1].startswith("b ")
    with pytest.raises(ValueError, match="is of 8000 Hz; at least 14400 Hz are needed"):
        speech(tmp_path, narrow, full_band=True, allowed=False).utterance(0)


def test_transcripts_of_all_sources_in_proportion(source, tmp_path, monkeypatch):
    a, b = source("a", 8), source("b", 4)
    (tmp_path / "a" / "3.wav").unlink()
    learned = [(a, np.arange(8)), (b, np.arange(4))]
    assert list(transcripts(learned)) == [f"a {i}" for i in range(8) if i != 3] + [f"b {i}" for i in range(4)]
    monkeypatch.setattr(own_speech, "TRANSCRIPTS", 6)
    assert list(transcripts(learned)) == ["a 0", "a 2", "a 4", "a 6", "b 0", "b 2"]
