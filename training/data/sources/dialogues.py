"""`open_dialogues`: a user's dialogues of any format as a source."""

from __future__ import annotations

from pathlib import Path

from training.data.sample import Sample
from training.data.source import Source
from training.data.sources.json_records import JsonDialogues
from training.data.sources.shards import is_hidden, shards
from training.data.sources.webdataset import TarDialogues

FORMATS = ("auto", "json", "parquet", "webdataset")
FORMAT_OF = dict.fromkeys((".json", ".jsonl", ".ndjson"), "json") | dict.fromkeys((".parquet", ".arrow"), "parquet")
FORMAT_OF[".tar"] = "webdataset"
SAVED = ("state.json", "dataset_dict.json")  # in a folder of `datasets.save_to_disk`
RECORDS = ("records.jsonl", "metadata.jsonl")  # what Parley and folders of pictures of `datasets` have
PATTERN = set("*?[{")


def open_dialogues(
    path: str | Path, *, media: str | Path | None = None, format: str = "auto", need_files: bool = True
) -> Source[Sample]:
    """The dialogues that `path` stands for. Only an index is made: a bad record raises when it is asked for.

    Args:
        path: a file of records, a folder, or for Parquet and tars a pattern: "shard-{000..123}.tar", "train-*.parquet".
        media: folder that relative paths of media start from; None: that of the files that name them.
        format: `json`, `parquet` (also Arrow and what `datasets` saved), `webdataset`, or `auto`, which looks.
        need_files: whether a record whose files are missing is a bad one.

    Raises `ValueError` if there is nothing there, or nothing of that format.
    """
    path, media = Path(path), None if media is None else Path(media)
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r} of dialogues; there are: {', '.join(FORMATS)}")
    if not path.exists() and not PATTERN & set(str(path)):
        raise ValueError(f"there is no file or folder {path}")
    match format_of(path) if format == "auto" else format:
        case "json":
            file = json_file(path)
            return JsonDialogues(file, media or file.parent, need_files)
        case "webdataset":
            return TarDialogues(shards(path, ".tar"))
        case "parquet":
            from training.data.sources.tables import open_tables  # `datasets` takes seconds to import

            return open_tables(path, media, need_files)
    raise AssertionError(format)


def format_of(path: Path) -> str:
    """The format of a file by its name, of a folder by what is in it. Raises `ValueError`."""
    if path.is_dir():
        return format_of_folder(path)
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in FORMAT_OF:
        known = ", ".join(FORMAT_OF)
        raise ValueError(
            f"{path} is of no known format; rename it to one of {known}, or write its format: {', '.join(FORMATS[1:])}"
        )
    return FORMAT_OF[suffix]


def format_of_folder(path: Path) -> str:
    if any((path / name).is_file() for name in SAVED):
        return "parquet"
    if any((path / name).is_file() for name in RECORDS):
        return "json"
    for suffix in (".tar", ".parquet", ".arrow"):
        if any(not is_hidden(file.relative_to(path)) for file in path.rglob(f"*{suffix}")):
            return FORMAT_OF[suffix]
    return "json"


def json_file(path: Path) -> Path:
    """The file of records in a folder, or `path` itself. Raises `ValueError` if there is none, or one of several."""
    if not path.is_dir():
        return path
    found = sorted(file for file in path.iterdir() if FORMAT_OF.get(file.suffix) == "json")
    usual = [file for file in found if file.name in RECORDS]
    if len(usual or found) == 1:
        return (usual or found)[0]
    if found:
        names = ", ".join(file.name for file in found[:5])
        raise ValueError(f"{path} has {len(found)} files of records: name one of them: {names}")
    inside = sorted(folder.name for folder in path.iterdir() if any((folder / name).is_file() for name in RECORDS))
    hint = f"; name a folder in it: {', '.join(inside[:5])}" if inside else ""
    raise ValueError(f"{path} has no dialogues in a format that is read: JSON, Parquet, Arrow or tars{hint}")
