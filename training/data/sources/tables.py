"""Dialogues in Parquet and Arrow files and in folders of `datasets`, mapped and not in memory.

Notable points:
- Parquet cannot be read by row, so `datasets` unpacks it once into its cache (`HF_DATASETS_CACHE`, by default under
  ~/.cache/huggingface): as much disk again. Nothing is written beside the user's data.
- Media inside a row stay in the mapped file until the row's sample is made.
"""

from __future__ import annotations

import glob
import re
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.record_forms import CAPTION_FIELDS, TURN_FIELDS, to_llava
from training.data.record_media import group_of, media_of
from training.data.records import to_sample
from training.data.sample import Sample
from training.data.sources.json_records import named
from training.data.sources.shards import sampled, shards

SPLIT = re.compile(r"(?:^|[-._/ ])(train|test|validation|valid|val|dev|eval)(?=[-._/ ]|$)")


class TableDialogues:
    """A `Source[Sample]` of the rows of tables, one after the other.

    `fingerprint` is of the files' names, sizes, footers and samples of their content (`shards.sampled`).
    """

    def __init__(self, tables: list[datasets.Dataset], rows: dict[Path, int], media: Path, need_files: bool) -> None:
        """`rows`: of each file or folder that the tables are from, in order."""
        table = datasets.concatenate_datasets(tables)
        first = next(iter(rows))
        if not {*TURN_FIELDS, *CAPTION_FIELDS} & set(table.column_names):
            raise ValueError(
                f"{first} has no column conversations or messages, or caption beside a picture, only: "
                + ", ".join(table.column_names)
            )
        if len(table) == 0:
            raise ValueError(f"{first} has no rows")
        self.media, self.need_files = media, need_files
        self.fingerprint = sampled(file for path in rows for file in ([path] if path.is_file() else saved_files(path)))
        self._table = table.with_format("arrow")
        self._binary = {field.name for field in table.features.arrow_schema if "binary" in str(field.type)}
        self._files, self._first = list(rows), [0, *accumulate(rows.values())]

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> Sample:
        return to_sample(self.row(index), self.media, self.need_files)

    def row(self, index: int) -> dict[str, Any]:
        """Row `index` without empty fields; media inside as memoryviews of the mapped file."""
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} rows, not a row {index}")
        row = {}
        for name, column in zip(self._table.column_names, self._table[index].columns, strict=True):
            value = light(column[0]) if name in self._binary else column[0].as_py()
            if value is not None:
                row[name] = by_turn(value) if name in TURN_FIELDS else value
        return row

    def where(self, index: int) -> str:
        """file[row of this file], and the id"""
        file = bisect_right(self._first, index) - 1
        return f"{self._files[file].name}[{index - self._first[file]}]{named(self.row(index))}"

    def group(self, index: int) -> str:
        return group_of(media_of(to_llava(self.row(index))))


def open_tables(path: Path, media: Path | None, need_files: bool) -> TableDialogues:
    """A folder of `datasets.save_to_disk`, or Parquet or Arrow files: one, a folder of them, or a pattern.

    Raises `ValueError` if there are none, if they are of several splits, or if one cannot be read.
    """
    if (path / "dataset_dict.json").is_file():
        path = only_split(path)
    if (path / "state.json").is_file():
        table = datasets.load_from_disk(str(path))
        return TableDialogues([table], {path: len(table)}, media or path, need_files)
    files = table_files(path)
    try:
        tables, rows = from_arrow(files) if files[0].suffix == ".arrow" else from_parquet(files)
    except (pa.ArrowException, datasets.exceptions.DatasetsError, OSError) as error:
        raise ValueError(f"{path} cannot be read as one table: {error.__cause__ or error}") from None
    return TableDialogues(
        tables, dict(zip(files, rows, strict=True)), media or (path if path.is_dir() else files[0].parent), need_files
    )


def only_split(path: Path) -> Path:
    """The folder of the one split of a saved `DatasetDict`."""
    names = sorted(folder.name for folder in path.iterdir() if (folder / "state.json").is_file())
    if len(names) != 1:
        raise ValueError(f"{path} has the splits {', '.join(names)}; name one, as {path / (names or ['train'])[0]}")
    return path / names[0]


def saved_files(path: Path) -> list[Path]:
    """The files of a folder of `datasets.save_to_disk`."""
    return sorted(path.glob("*.arrow"))


def table_files(path: Path) -> list[Path]:
    """Raises `ValueError` if there are none, or some of several splits."""
    suffix = path.suffix if path.suffix in (".parquet", ".arrow") else ".parquet"
    if path.is_dir() and not any(path.rglob("*.parquet")):
        suffix = ".arrow"
    files = shards(path, suffix)
    inside = [str(file.relative_to(path)) if path.is_dir() else file.name for file in files]
    splits = sorted({found[1] for name in inside if (found := SPLIT.search(name))})
    if len(splits) > 1:
        raise ValueError(f"{path} has the splits {', '.join(splits)}; name one, as '{path}/{splits[0]}-*{suffix}'")
    return files


def from_parquet(files: list[Path]) -> tuple[list[datasets.Dataset], list[int]]:
    """The files unpacked, and the rows of each."""
    rows = [pq.read_metadata(file).num_rows for file in files]
    # `datasets` fails for a file without rows.
    filled = [glob.escape(str(file.resolve())) for file, count in zip(files, rows, strict=True) if count]
    if not filled:
        raise ValueError(f"{files[0]} has no rows")
    table = datasets.Dataset.from_parquet(filled)
    pa.default_memory_pool().release_unused()
    return [table], rows


def from_arrow(files: list[Path]) -> tuple[list[datasets.Dataset], list[int]]:
    """The files mapped, and the rows of each."""
    tables = [datasets.Dataset.from_file(str(file)) for file in files]
    return tables, [len(table) for table in tables]


def light(scalar: pa.Scalar) -> Any:
    """A scalar as Python has it, but binary content as a memoryview of where it is."""
    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.StructScalar):
        return {name: light(value) for name, value in scalar.items()}
    if isinstance(scalar, pa.ListScalar):
        return [light(value) for value in scalar]
    if pa.types.is_binary(scalar.type) or pa.types.is_large_binary(scalar.type):
        return memoryview(scalar.as_buffer())
    return scalar.as_py()


def by_turn(value: Any) -> Any:
    """Turns as a list; older versions of `datasets` write a list of structs as a struct of lists."""
    if isinstance(value, dict) and all(isinstance(column, list) for column in value.values()):
        return [dict(zip(value, turn, strict=False)) for turn in zip(*value.values(), strict=False)]
    return value
