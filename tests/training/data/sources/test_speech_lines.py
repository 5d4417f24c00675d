"""JSON lines of speech: every way to write an utterance, and every bad one by its reason."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from training.data.records import RecordError
from training.data.source import Utterance
from training.data.sources.speech import open_speech

GOOD = {"audio": "a.wav", "text": "hello"}


@pytest.fixture
def source(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16_000)

    def of(*records, **options):
        file = tmp_path / "speech.jsonl"
        file.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records))
        return open_speech(file, **options)

    return of


def test_the_same_utterance_in_the_words_of_other_manifests(source, tmp_path):
    audio = str(tmp_path / "a.wav")
    expected = Utterance(audio, "hello", "7", 1.5, 2.0, "u1")
    assert source({**GOOD, "start": 1.5, "end": 3.5, "speaker": 7, "id": "u1"})[0] == expected
    nemo = {"audio_filepath": audio, "text": "hello", "offset": 1.5, "duration": 2, "speaker": "7", "utt_id": "u1"}
    assert source(nemo)[0] == expected
    voice = {"path": "a.wav", "sentence": "hello", "client_id": "7"}
    assert source(voice)[0] == Utterance(audio, "hello", "7")


def test_media_is_another_folder(source, tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "a.wav").rename(tmp_path / "clips" / "a.wav")
    with pytest.raises(RecordError, match=r"a\.wav does not exist"):
        source(GOOD)[0]
    assert source(GOOD, media=tmp_path / "clips")[0].audio == str(tmp_path / "clips" / "a.wav")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ('{"audio": "a.wav"', "not JSON"),
        ("[1, 2]", "not a record"),
        ({"text": "hello"}, "no audio"),
        ({"audio": "a.wav"}, "no text"),
        ({**GOOD, "text": "  "}, "empty text"),
        ({**GOOD, "audio": "b.wav"}, "missing file"),
        ({**GOOD, "start": -1}, "negative time"),
        ({**GOOD, "start": 2, "end": 1}, "end before start"),
        ({**GOOD, "duration": 0}, "end before start"),
        ({**GOOD, "start": "soon"}, "bad time"),
        ({**GOOD, "duration": True}, "bad time"),
        ({**GOOD, "start": 1e308}, "bad time"),
        ({**GOOD, "audio": 5000 * "x"}, "missing file"),
        ({**GOOD, "audio": "a\0"}, "missing file"),
        ('{"audio": "a.wav", "text": "hello", "channel": "left"}', "no such channel"),
    ],
)
def test_a_bad_record_is_bad_when_it_is_read(source, record, reason):
    data = source(GOOD, record)
    assert len(data) == 2 and data[0].text == "hello"
    with pytest.raises(RecordError) as error:
        data[1]
    assert error.value.reason == reason
    assert data.where(1).startswith("speech.jsonl:2")
    assert isinstance(data.group(1), str)


def test_where_and_group(source, tmp_path):
    data = source({**GOOD, "id": "u1", "speaker": "ann"}, GOOD)
    assert data.where(0) == "speech.jsonl:1 (id u1)" and data.where(1) == "speech.jsonl:2"
    assert data.group(0) == "ann" and data.group(1) == str(tmp_path / "a.wav")
    assert data.fingerprint != source(GOOD).fingerprint


def test_what_cannot_be_opened(source, tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"):
        open_speech(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="no format 'csv'"):
        source(GOOD, format="csv")
    with pytest.raises(ValueError, match="is a JSON list"):
        source(json.dumps([GOOD]))
