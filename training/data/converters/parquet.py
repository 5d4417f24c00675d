"""Rows of Parquet files, in bounded memory; a file that cannot be read is a bad one and does not end a conversion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as pq

from training.data.records import Bad

ROWS = 64  # decoded at a time


def row_count(files: Sequence[Path]) -> int:
    """Rows of all files that can be read, from their footers."""
    return sum(rows for file in files if (rows := _footer(file)) is not None)


def read_rows(file: Path, root: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any] | Bad]]:
    """("file[row]", row) for each row of a file, with those of the columns that it has.

    "image.path" is a column that is a field of a struct. What of the file cannot be read is one `Bad`.
    """
    name, row = str(file.relative_to(root)), 0
    try:
        with pq.ParquetFile(file) as parquet:
            known = [column.path for column in map(parquet.schema.column, range(len(parquet.schema)))]
            chosen = [column for column in columns if any(f"{path}.".startswith(f"{column}.") for path in known)]
            for batch in parquet.iter_batches(batch_size=ROWS, columns=chosen):
                for value in batch.to_pylist():
                    yield f"{name}[{row}]", value
                    row += 1
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        yield name, Bad(name, "", "unreadable Parquet file", f"it cannot be read from row {row} on: {reason}")


def _footer(file: Path) -> int | None:
    try:
        return pq.read_metadata(file).num_rows
    except (pyarrow.ArrowException, OSError):
        return None
