"""`open_dialogues`: a user's dialogues of any format as a source."""

from __future__ import annotations

from pathlib import Path

from training.data.sample import Sample
from training.data.source import Source
from training.data.sources.json_records import JsonDialogues

FORMATS = ("auto", "json", "parquet", "webdataset")
SUFFIXES = {".json": "json", ".jsonl": "json", ".ndjson": "json"}


def open_dialogues(
    path: str | Path, *, media: str | Path | None = None, format: str = "auto", need_files: bool = True
) -> Source[Sample]:
    """The dialogues in a file or folder. Relative paths of media are under `media`, by default the folder of `path`.

    A bad record raises `RecordError` when it is asked for: also one whose files are missing, unless `need_files` is
    False. Raises `ValueError` if nothing is there, or nothing of a known format.
    """
    path = Path(path)
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r} of dialogues; write {', '.join(FORMATS)}")
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    if format == "auto" and Path(path.name.removesuffix(".gz")).suffix not in SUFFIXES:
        raise ValueError(f"{path} is of no known format: {', '.join(SUFFIXES)}; write the format yourself")
    return JsonDialogues(path, Path(media) if media else path.parent, need_files)
