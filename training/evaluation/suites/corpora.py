"""Folders of LibriSpeech and AISHELL-1, as they are published → utterances with their transcripts, by split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

from training.data.source import Utterance


class Split:
    """A `Source` of the utterances of a split, whose audio is in files."""

    def __init__(self, utterances: Sequence[Utterance]) -> None:
        self.utterances = utterances
        names = "\n".join(f"{utterance.id} {utterance.text}" for utterance in utterances)
        self.fingerprint = blake2b(names.encode(), digest_size=16).hexdigest()

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Utterance:
        return self.utterances[index]

    def where(self, index: int) -> str:
        return str(self.utterances[index].audio)

    def group(self, index: int) -> str:
        return self.utterances[index].speaker


def librispeech(folder: Path) -> dict[str, Split]:
    """The splits in a folder: SPLIT/SPEAKER/CHAPTER/*.trans.txt with FLAC files beside.

    The folder may be that of all splits, of which those named `test-…` are taken, or that of one split. Raises
    `ValueError` if there is no transcript in it.
    """
    splits: dict[str, list[Utterance]] = {}
    for transcripts in sorted(folder.resolve().rglob("*.trans.txt")):
        splits.setdefault(transcripts.parents[2].name, []).extend(_chapter(transcripts))
    if not splits:
        raise ValueError(f"{folder} is no folder of LibriSpeech: it has no SPLIT/SPEAKER/CHAPTER/*.trans.txt")
    tests = {name: utterances for name, utterances in splits.items() if name.startswith("test")}
    return {name: Split(utterances) for name, utterances in (tests or splits).items()}


def _chapter(transcripts: Path) -> Iterator[Utterance]:
    """The utterances of a chapter; each line is an id and its words."""
    for line in transcripts.read_text(encoding="utf-8").splitlines():
        name, _, text = line.partition(" ")
        yield Utterance(str(transcripts.parent / f"{name}.flac"), text, speaker=transcripts.parents[1].name, id=name)


def aishell(folder: Path) -> dict[str, Split]:
    """The test set of AISHELL-1: transcript/aishell_transcript_v0.8.txt and wav/test/SPEAKER/*.wav.

    Raises `ValueError` if one of both is missing.
    """
    files = sorted((folder / "wav" / "test").glob("*/*.wav"))
    transcripts = sorted((folder / "transcript").glob("aishell_transcript_v*.txt"))
    if not files or not transcripts:
        missing = "transcript/aishell_transcript_v0.8.txt" if files else "wav/test/SPEAKER/*.wav"
        raise ValueError(f"{folder} is no folder of AISHELL-1 (data_aishell): it has no {missing}")
    lines = (line.partition(" ") for line in transcripts[0].read_text(encoding="utf-8").splitlines())
    texts = {name: text for name, _, text in lines}
    utterances = [
        Utterance(str(file), texts.get(file.stem, ""), speaker=file.parent.name, id=file.stem) for file in files
    ]
    return {"test": Split(utterances)}
