"""Rows of Parquet files, in bounded memory; a file that cannot be read is a bad one and does not end a conversion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as pq

from training.data.records import Bad

ROWS = 64  # decoded at a time
BUFFER = 1 << 20  # bytes read at a time


def row_count(files: Sequence[Path]) -> int:
    """Rows of all files that can be read, from their footers."""
    return sum(rows for file in files if (rows := _footer(file)) is not None)


def read_rows(file: Path, root: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any] | Bad]]:
    """("file[row]", row) for each row of a file, with those of the columns that it has.

    "image.path" is the field of a struct, or the column "image" where that is none. What of the file cannot be read is
    one `Bad`.
    """
    name, row = str(file.relative_to(root)), 0
    try:
        with pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False) as parquet:
            for value in _rows(parquet, columns):
                yield f"{name}[{row}]", value
                row += 1
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        yield name, Bad(name, "", "unreadable Parquet file", f"it cannot be read from row {row} on: {reason}")


def _rows(parquet: pq.ParquetFile, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    paths = [parquet.schema.column(number).path for number in range(len(parquet.schema))]
    wanted = [path for path in paths if any(overlap(path, column) for column in columns)]
    for group in range(parquet.num_row_groups):  # one at a time: pyarrow keeps all that it was asked for together
        for batch in parquet.iter_batches(ROWS, row_groups=[group], columns=wanted, use_threads=False):
            yield from batch.to_pylist()


def overlap(one: str, other: str) -> bool:
    """Whether one of two columns is the other, or a field of it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _footer(file: Path) -> int | None:
    try:
        return pq.read_metadata(file).num_rows
    except (pyarrow.ArrowException, OSError):
        return None
