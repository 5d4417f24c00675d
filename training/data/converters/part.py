"""What a layout gives: parts, each one split or subset of the data set, and the records found in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.data.records import Bad

SPEECH_KINDS = ("transcriptions", "speech")


@dataclass(frozen=True)
class Item:
    """A record that was found, not checked yet.

    `record` is a LLaVA/VITA record, or {"id", "audio", "text", "speaker"} of speech. Its media are paths under the
    part's `media`, or names in `content`: the bytes of files that have no place of their own on the disk.
    """

    where: str  # "file:line" or "file[index]"
    record: dict[str, Any]
    content: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One split or subset: what becomes one file of JSON lines, and one source of mix.yaml."""

    name: str
    kind: str  # of the source in mix.yaml; dialogues in which no media are found become "text"
    media: Path  # folder that the paths of media start from
    items: Callable[[], Iterator[Item | Bad]]
    split: str = "train"  # dev and test are written and kept out of mix.yaml
    count: int | None = None  # of the records, for the progress bar
    # Files that training reads as they are: they are checked and named in mix.yaml, and nothing is written.
    as_it_is: Path | None = None


def split_of(name: str) -> str:
    """The split that the name of a part begins with: train, dev or test."""
    first = name.replace("_", "-").split("-")[0]
    return {"val": "dev", "validation": "dev", "dev": "dev", "test": "test"}.get(first, "train")


def find_root(source: Path, inside: str, layout: str, wanted: str, is_root: Callable[[Path], bool]) -> Path:
    """`source`, or the folder `inside` it, whichever is of the layout. Raises `ValueError` if neither is."""
    if not source.is_dir():
        raise ValueError(f"there is no folder {source}")
    for root in (source, source / inside):
        if is_root(root):
            return root
    raise ValueError(f"{source} is not of the layout {layout}: {wanted}, neither there nor in {inside}/")
