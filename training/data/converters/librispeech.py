"""LibriSpeech (openslr.org/12): SUBSET/SPEAKER/CHAPTER/*.flac with SPEAKER-CHAPTER.trans.txt, and SPEAKERS.TXT.

Notable points:
- A line of a transcript is "103-1240-0000 CHAPTER ONE …". The corpus has capitals only; they are written in lower case,
  which a language model reads in half as many tokens.
- SPEAKERS.TXT tells which speakers a subset must have, so a download that is not whole is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from training.data.converters.corpus import audio_files, chapters, read_text, subsets, transcripts, utterances
from training.data.converters.part import Item, Part, find_root, split_of
from training.data.records import Bad

WANTED = "it needs folders like train-clean-100/ with SPEAKER/CHAPTER/*.flac"


def parts(source: Path) -> list[Part]:
    """A part for each subset that was unpacked."""
    root = find_root(source, "LibriSpeech", "librispeech", WANTED, lambda path: any(map(chapters, subsets(path))))
    return [
        Part(path.name, "transcriptions", root, partial(items, root, path), split_of(path.name), count(path))
        for path in subsets(root)
    ]


def items(root: Path, subset: Path) -> Iterator[Item | Bad]:
    """The utterances of a subset, chapter by chapter."""
    for speaker in sorted(speakers(root / "SPEAKERS.TXT").get(subset.name, set())):
        if not (subset / speaker).is_dir():
            detail = f"SPEAKERS.TXT has speaker {speaker} in {subset.name}, but there is no folder of that name"
            yield Bad("SPEAKERS.TXT", speaker, "missing speaker", detail)
    for chapter in chapters(subset):
        file = trans_file(chapter)
        texts = {name: text.lower() for name, text in transcripts(file).items()}
        yield from utterances(root, chapter.parent.name, texts, audio_files(chapter, "flac"), file)


def trans_file(chapter: Path) -> Path:
    return chapter / f"{chapter.parent.name}-{chapter.name}.trans.txt"


def count(subset: Path) -> int:
    """Utterances of a subset."""
    return sum(len(transcripts(trans_file(chapter))) for chapter in chapters(subset))


def speakers(path: Path) -> dict[str, set[str]]:
    """Subset → speakers, from lines "14   | F | train-clean-360  | 25.03 | NAME"; ";" begins a comment."""
    found: dict[str, set[str]] = {}
    for line in read_text(path).splitlines() if path.is_file() else ():
        columns = [column.strip() for column in line.split("|")]
        if not line.startswith(";") and len(columns) >= 3:
            found.setdefault(columns[2], set()).add(columns[0])
    return found
