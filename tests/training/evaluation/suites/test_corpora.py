"""Folders of LibriSpeech and AISHELL-1 in their published layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.evaluation.suites.corpora import aishell, librispeech


def write_chapter(folder: Path, name: str, *lines: str) -> None:
    folder.mkdir(parents=True)
    (folder / f"{name}.trans.txt").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def libri(tmp_path: Path) -> Path:
    root = tmp_path / "LibriSpeech"
    write_chapter(root / "test-clean/1089/134686", "1089-134686", "1089-134686-0000 HE HOPED", "1089-134686-0001 YES")
    write_chapter(root / "test-other/367/130732", "367-130732", "367-130732-0000 LOBSTERS AND LOBSTERS")
    write_chapter(root / "train-clean-100/19/198", "19-198", "19-198-0000 NORTHANGER ABBEY")
    return root


def test_all_of_librispeech_is_its_test_splits(libri: Path):
    splits = librispeech(libri)
    assert {name: len(split) for name, split in splits.items()} == {"test-clean": 2, "test-other": 1}
    first = splits["test-clean"][0]
    assert (first.text, first.speaker, first.id) == ("HE HOPED", "1089", "1089-134686-0000")
    assert first.audio == str(libri / "test-clean/1089/134686/1089-134686-0000.flac")
    assert splits["test-clean"].where(0) == first.audio and splits["test-clean"].group(0) == "1089"


def test_one_split_is_itself(libri: Path):
    assert list(librispeech(libri / "train-clean-100")) == ["train-clean-100"]
    assert list(librispeech(libri / "test-other")) == ["test-other"]


def test_aishell_is_its_test_set(tmp_path: Path):
    for split, name in (("test", "BAC009S0764W0121"), ("test", "BAC009S0764W0122"), ("train", "BAC009S0002W0122")):
        folder = tmp_path / "wav" / split / name[6:11]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.wav").touch()
    (tmp_path / "transcript").mkdir()
    lines = "BAC009S0764W0121 甚至 出现 交易\nBAC009S0002W0122 而 对 楼市\n"
    (tmp_path / "transcript/aishell_transcript_v0.8.txt").write_text(lines, encoding="utf-8")
    splits = aishell(tmp_path)
    assert [(one.id, one.text, one.speaker) for one in splits["test"].utterances] == [
        ("BAC009S0764W0121", "甚至 出现 交易", "S0764"),
        ("BAC009S0764W0122", "", "S0764"),
    ]


@pytest.mark.parametrize("read", [librispeech, aishell])
def test_another_folder_is_refused(read, tmp_path: Path):
    with pytest.raises(ValueError, match="is no folder of"):
        read(tmp_path)
