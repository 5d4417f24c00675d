"""Small folders in the layouts of public data sets, made by the tests."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from PIL import Image


def sound(path: Path, seconds: float = 0.2, rate: int = 16_000) -> Path:
    """A quiet tone; the format follows from the extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.1 * np.sin(np.arange(round(seconds * rate)) * 0.1)
    soundfile.write(path, tone.astype(np.float32), rate)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def picture(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), colour).save(path)
    return path


def table(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def turns(*values: str) -> list[dict]:
    return [{"from": ("human", "gpt")[index % 2], "value": value} for index, value in enumerate(values)]
