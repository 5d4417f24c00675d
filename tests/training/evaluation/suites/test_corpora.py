"""Folders of LibriSpeech and AISHELL-1 in their published layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from training.data.record_error import RecordError
from training.evaluation.suites.corpora import aishell, librispeech


def write_chapter(folder: Path, *lines: str) -> None:
    """A chapter with a sound file, empty here, for each line but the last."""
    folder.mkdir(parents=True)
    (folder / f"{folder.parent.name}-{folder.name}.trans.txt").write_text("".join(f"{line}\n" for line in lines))
    for line in lines[:-1]:
        (folder / f"{line.split()[0]}.flac").touch()


@pytest.fixture
def libri(tmp_path: Path) -> Path:
    root = tmp_path / "LibriSpeech"
    write_chapter(root / "test-clean/1089/134686", "1089-134686-0000 HE HOPED", "1089-134686-0001 YES")
    write_chapter(root / "test-other/367/130732", "367-130732-0000 LOBSTERS", "367-130732-0001 AND LOBSTERS")
    write_chapter(root / "dev-clean/19/198", "19-198-0000 NORTHANGER", "19-198-0001 ABBEY")
    return root


def test_the_test_splits_of_librispeech_are_measured(libri: Path):
    splits = librispeech(libri)
    assert {name: len(split) for name, split in splits.items()} == {"test-clean": 2, "test-other": 2}
    clean = splits["test-clean"]
    assert (clean[0].text, clean[0].speaker, clean.group(0)) == ("he hoped", "1089", "1089")
    assert clean[0].audio == str(libri / "test-clean/1089/134686/1089-134686-0000.flac")
    with pytest.raises(RecordError, match="no sound file"):
        clean[1]
    assert clean.where(1) == "test-clean/1089/134686/1089-134686.trans.txt (id 1089-134686-0001)"


def test_without_a_test_split_all_are(libri: Path):
    for name in ("test-clean", "test-other"):
        shutil.rmtree(libri / name)
    assert list(librispeech(libri)) == ["dev-clean"]


def test_another_text_is_another_fingerprint(libri: Path):
    before = librispeech(libri)["test-clean"].fingerprint
    assert librispeech(libri)["test-clean"].fingerprint == before
    transcript = libri / "test-clean/1089/134686/1089-134686.trans.txt"
    transcript.write_text(transcript.read_text().replace("HOPED", "HOPES"))
    assert librispeech(libri)["test-clean"].fingerprint != before


def test_the_test_set_of_aishell_is_measured(tmp_path: Path):
    for split, name in (("test", "BAC009S0764W0121"), ("test", "BAC009S0764W0122"), ("train", "BAC009S0002W0122")):
        folder = tmp_path / "wav" / split / name[6:11]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.wav").touch()
    (tmp_path / "transcript").mkdir()
    lines = "BAC009S0764W0121 甚至 出现 交易\nBAC009S0002W0122 而 对 楼市\n"
    (tmp_path / "transcript/aishell_transcript_v0.8.txt").write_text(lines, encoding="utf-8")
    split = aishell(tmp_path)["test"]
    assert len(split) == 2 and (split[0].text, split[0].speaker) == ("甚至出现交易", "S0764")
    with pytest.raises(RecordError, match="no transcript"):
        split[1]


@pytest.mark.parametrize("read", [librispeech, aishell])
def test_another_folder_is_refused(read, tmp_path: Path):
    with pytest.raises(ValueError, match="is not of the layout"):
        read(tmp_path)
