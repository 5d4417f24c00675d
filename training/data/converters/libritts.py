"""LibriTTS (openslr.org/60) and LibriTTS-R (141): SUBSET/SPEAKER/CHAPTER/*.wav, each with its texts beside it.

Notable points:
- `103_1241_000000_000001.wav` has `….normalized.txt` (as spoken: "mister", "twelve") and `….original.txt` (as printed:
  "Mr.", "12"). A speech decoder that is trained on the first reads words; on the second it learns to read digits too,
  and needs more speech for it.
- 24 kHz, so it suits the codec and the speech decoder (3.1, 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from training.data.converters.corpus import audio_files, chapters, read_text, subsets, utterances
from training.data.converters.part import Item, Part, find_root, split_of
from training.data.records import Bad

WANTED = "it needs folders like train-clean-100/ with SPEAKER/CHAPTER/*.wav and *.normalized.txt"


def parts(source: Path) -> list[Part]:
    """A part for each subset that was unpacked, with the text as spoken."""
    return parts_with(source, "normalized")


def original_parts(source: Path) -> list[Part]:
    """A part for each subset that was unpacked, with the text as printed."""
    return parts_with(source, "original")


def parts_with(source: Path, text: str) -> list[Part]:
    inside = "LibriTTS_R" if (source / "LibriTTS_R").is_dir() else "LibriTTS"
    root = find_root(source, inside, "libritts", WANTED, lambda path: any(map(chapters, subsets(path))))
    return [
        Part(path.name, "speech", root, partial(items, root, path, text), split_of(path.name), count(path))
        for path in subsets(root)
    ]


def items(root: Path, subset: Path, text: str) -> Iterator[Item | Bad]:
    """The utterances of a subset, chapter by chapter. `text` is "normalized" or "original"."""
    for chapter in chapters(subset):
        ending = f".{text}.txt"
        files = (path for path in chapter.glob(f"[!.]*{ending}"))
        texts = {path.name.removesuffix(ending): " ".join(read_text(path).split()) for path in files}
        yield from utterances(root, chapter.parent.name, texts, audio_files(chapter, "wav"), chapter)


def count(subset: Path) -> int:
    """Utterances of a subset."""
    return sum(len(audio_files(chapter, "wav")) for chapter in chapters(subset))
