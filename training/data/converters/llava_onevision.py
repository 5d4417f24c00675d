"""LLaVA-OneVision-Data and LLaVA-ReCap: Parquet files with columns id, image (bytes and path), conversations.

Notable points:
- Training reads these files as they are: nothing is written but mix.yaml, which names each subset with its kind. Its
  records are checked; the pictures themselves are not decoded (`parley data check` does that).
- A subset is a folder: SUBSET/train-00000-of-00004.parquet; a single subset, and LLaVA-ReCap, have data/ or no folder.
- Subsets of text (magpie_pro …) have no pictures. Subsets that are tars and JSON (ureader_kg …) are LLaVA records.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from training.data.converters.parquet import read_rows, row_count
from training.data.converters.part import Item, Part
from training.data.records import Bad

# Subsets whose answers describe the picture; all others ask about it.
CAPTIONS = re.compile(r"sharegpt4[vo]|image_textualization|textcaps|textocr|geo170k\(align\)|recap", re.IGNORECASE)
COLUMNS = ("id", "conversations", "image.path", "data_source")  # without image.bytes: the pictures are not read


def parts(source: Path) -> list[Part]:
    """A part for each folder of Parquet files. Raises `ValueError` if there is none, or if one is inside another."""
    if not source.is_dir():
        raise ValueError(f"there is no folder {source}")
    subsets: dict[Path, list[Path]] = {}
    for file in sorted(source.rglob("*.parquet")):
        if not any(name.startswith(".") for name in file.relative_to(source).parts):  # ".cache": of the download
            subsets.setdefault(subset_of(file, source), []).append(file)
    if not subsets:
        raise ValueError(f"{source} is not of the layout llava-onevision: it has no *.parquet, at any depth")
    for folder in subsets:
        if inside := next((other for other in subsets if folder in other.parents), None):
            raise ValueError(f"{folder} has Parquet files, and so has {inside} inside it: name one subset at a time")
    return [part(folder, source, files) for folder, files in subsets.items()]


def subset_of(file: Path, source: Path) -> Path:
    """The folder that a file belongs to: the subset, where the files are in SUBSET/train/."""
    folder = file.parent
    return folder.parent if folder.name in ("train", "data") and folder != source else folder


def part(folder: Path, source: Path, files: list[Path]) -> Part:
    name = "-".join(folder.relative_to(source).parts) or source.resolve().name
    kind = "captions" if CAPTIONS.search(name) else "questions"
    return Part(name, kind, folder, partial(items, folder, files), count=row_count(files), as_it_is=folder)


def items(folder: Path, files: list[Path]) -> Iterator[Item | Bad]:
    """The records of a subset; a picture has the name that the file gives it."""
    for file in files:
        for where, row in read_rows(file, folder, COLUMNS):
            if isinstance(row, Bad):
                yield row
                continue
            record = {name: value for name, value in row.items() if value is not None}
            if isinstance(image := record.get("image"), dict):
                record["image"] = image["path"] or "image"
            yield Item(where, record)
