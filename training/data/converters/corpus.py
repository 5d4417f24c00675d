"""What the layouts of speech corpora share: subset folders, texts, and utterances that have both a text and a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from training.data.converters.part import Item
from training.data.records import Bad


def subsets(root: Path) -> list[Path]:
    """The folders of a corpus that are named after a split: train-clean-100, dev-clean, test …"""
    names = ("train", "dev", "test")
    return sorted(path for path in root.glob("*") if path.is_dir() and path.name.split("-")[0] in names)


def chapters(subset: Path) -> list[Path]:
    """The folders SPEAKER/CHAPTER of a subset."""
    return sorted(path for path in subset.glob("[!.]*/[!.]*") if path.is_dir())


def read_text(path: Path) -> str:
    """A text file; what is not UTF-8 becomes U+FFFD, which makes its record a bad one later."""
    return path.read_text(encoding="utf-8-sig", errors="replace")


def transcripts(path: Path) -> dict[str, str]:
    """The lines "ID TEXT" of a file: id → text. Empty where there is no file."""
    if not path.is_file():
        return {}
    pairs = (line.split(maxsplit=1) for line in read_text(path).split("\n") if line.strip())
    return {name: "".join(text).strip() for name, *text in pairs}


def audio_files(folder: Path, extension: str) -> dict[str, Path]:
    """name → path of the sound files in a folder; hidden ones ("._x.wav", as macOS packs them) are no recordings."""
    return {path.stem: path for path in folder.glob(f"[!.]*.{extension}")}


def utterances(
    root: Path, speaker: str, texts: Mapping[str, str], audio: Mapping[str, Path], where: Path
) -> Iterator[Item | Bad]:
    """An item for each name that has a text and a file, a `Bad` for each that lacks one. `where` holds the texts."""
    place = str(where.relative_to(root))
    for name in sorted(texts.keys() | audio.keys()):
        if name not in audio:
            yield Bad(place, name, "no audio file", "it has a transcript and no sound file")
        elif name not in texts:
            path = audio[name].relative_to(root)
            yield Bad(str(path), name, "no transcript", f"{path} has no transcript in {place}")
        else:
            path = audio[name].relative_to(root).as_posix()
            yield Item(place, {"id": name, "audio": path, "text": texts[name], "speaker": speaker})
