"""Kaldi folders: utterances found by their keys, whatever the order of the files, and nothing left out or executed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from training.data.records import RecordError
from training.data.source import Utterance
from training.data.sources.kaldi import KaldiSpeech
from training.data.sources.speech import open_speech

SEGMENTS = {
    "wav.scp": "rec2 b.wav\nrec1 a.wav\n",
    "segments": "u3 rec1 1.0 -1\nu1 rec1 0.0 1.5\nu2 rec2 0.5 1.0 1\n",
    "text": "u2\tzwei Wörter\nu1 one\nu3 three\n",
    "utt2spk": "u1 ann\nu2 bob\n",
}


@pytest.fixture
def folder(tmp_path):
    def of(**files: str) -> KaldiSpeech:
        for name in ("a.wav", "b.wav"):
            soundfile.write(tmp_path / name, np.zeros((32_000, 2)), 16_000)
        for name, content in (SEGMENTS | files).items():
            if content is not None:
                (tmp_path / name).write_text(content)
        return open_speech(tmp_path)

    return of


def test_utterances_of_segments(folder, tmp_path):
    source = folder()
    a, b = str(tmp_path / "a.wav"), str(tmp_path / "b.wav")
    assert [source[i] for i in range(len(source))] == [
        Utterance(b, "zwei Wörter", "bob", 0.5, 0.5, "u2", 1),
        Utterance(a, "one", "ann", 0.0, 1.5, "u1"),
        Utterance(a, "three", "", 1.0, None, "u3"),
    ]
    assert source.where(1) == f"{tmp_path.name}/text:2 (id u1)"
    assert [source.group(i) for i in range(3)] == ["bob", "ann", a]


def test_whole_files(folder, tmp_path):
    source = folder(**{"segments": None, "utt2spk": None, "text": "rec1 one\nrec2 two\n"})
    assert [source[0], source[1]] == [
        Utterance(str(tmp_path / "a.wav"), "one", id="rec1"),
        Utterance(str(tmp_path / "b.wav"), "two", id="rec2"),
    ]


def test_media_is_another_folder(folder, tmp_path):
    folder()
    assert Path(open_speech(tmp_path, media=tmp_path / "x", format="kaldi").entry(0).audio) == tmp_path / "x" / "b.wav"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"wav.scp": "rec1 touch {touched} |\nrec2 b.wav\n"}, "a command"),
        ({"wav.scp": "rec1 | cat a.wav\nrec2 b.wav\n"}, "a command"),
        ({"wav.scp": "rec1 data.ark:17\nrec2 b.wav\n"}, "an archive"),
        ({"wav.scp": "rec1 none.wav\nrec2 b.wav\n"}, "missing file"),
        ({"wav.scp": "rec2 b.wav\n"}, "no audio"),
        ({"wav.scp": "rec1 a.wav\nrec1 b.wav\nrec2 b.wav\n"}, "id twice"),
        ({"text": "u2 two\nu1\nu3 three\n"}, "empty text"),
        ({"segments": "u2 rec2 0.5 1.0\nu3 rec1 0 1\n"}, "no audio"),
        ({"segments": "u1 rec1 1.5 1.0\n"}, "end before start"),
        ({"segments": "u1 rec1 -2 1.0\n"}, "negative time"),
        ({"segments": "u1 rec1 now 1.0\n"}, "bad time"),
    ],
)
def test_a_bad_utterance_is_bad_when_it_is_read(folder, tmp_path, files, reason):
    touched = tmp_path / "touched"
    source = folder(**{name: content.replace("{touched}", str(touched)) for name, content in files.items()})
    with pytest.raises(RecordError) as error:
        source[1]
    assert error.value.reason == reason
    assert source.where(1).startswith(f"{tmp_path.name}/text:2")
    assert isinstance(source.group(1), str) and not touched.exists()


def test_audio_without_a_transcript_is_counted(folder, tmp_path):
    source = folder(text="u2 two\nu3 three\n")
    assert len(source) == 3
    with pytest.raises(RecordError, match="u1 has audio and no line"):
        source[2]
    assert source.where(2) == f"{tmp_path.name}/segments:2"


def test_a_folder_that_lacks_a_file(folder, tmp_path):
    folder()
    (tmp_path / "text").unlink()
    with pytest.raises(ValueError, match=r"no such file: .*text"):
        open_speech(tmp_path)


def test_the_fingerprint_is_of_all_files(folder):
    first = folder().fingerprint
    assert folder().fingerprint == first
    assert len({first, folder(utt2spk="u1 ann\n").fingerprint, folder(**{"wav.scp": "rec1 a.wav\n"}).fingerprint}) == 3
