"""How fast `parley data convert` is and how much memory it takes, on made-up data of real sizes.

`python -m benchmarks.data_convert [--share 1.0]` makes each data set in a temporary folder (1 GB at most), converts it
in a process of its own, and prints a row: records, seconds, seconds of CPU, largest resident memory in MB.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from PIL import Image

ROOT = Path(__file__).parents[1]
ANSWER = "A longer answer of about a hundred words about what the picture shows. " * 8
ROWS = 1000  # of a row group, as `datasets` writes them
CONVERT = "from cli.data import app; app(standalone_mode=False); print(open('/proc/self/status').read())"


def llava_150k(root: Path, records: int) -> None:
    """Records over 1,000 pictures, which are one file with many names."""
    first = root / "train2017/000000000000.jpg"
    first.parent.mkdir(parents=True)
    Image.new("RGB", (640, 480)).save(first)
    for number in range(1, 1000):
        os.link(first, first.with_name(f"{number:012d}.jpg"))
    turns = [
        {"from": ("human", "gpt")[turn % 2], "value": ("<image>\nwhat?", ANSWER, "and?", ANSWER)[turn]}
        for turn in range(4)
    ]
    with (root / "llava_instruct_150k.json").open("w") as file:
        for number in range(records):
            name = f"{number % 1000:012d}"
            record = {"id": name, "image": f"{name}.jpg", "conversations": turns}
            file.write(("," if number else "[") + json.dumps(record, indent=1))
        file.write("]")


def librispeech(root: Path, records: int) -> None:
    """Utterances of 10 s, 50 a chapter and 10 chapters a speaker; the sound is one file with many names."""
    first = root / "first.flac"
    root.mkdir()
    soundfile.write(first, np.zeros(160_000, np.float32), 16_000)
    for chapter in range(max(1, records // 50)):
        folder = root / f"train-clean-100/{chapter // 10}/{chapter}"
        folder.mkdir(parents=True)
        names = [f"{chapter // 10}-{chapter}-{number:04d}" for number in range(50)]
        for name in names:
            os.link(first, folder / f"{name}.flac")
        lines = [f"{name} A SENTENCE THAT IS READ ALOUD\n" for name in names]
        (folder / f"{chapter // 10}-{chapter}.trans.txt").write_text("".join(lines))


def llava_onevision(root: Path, records: int) -> None:
    """Rows with pictures of 60 kB, in one subset."""
    turns = [{"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": ANSWER}]
    write_table(root / "subset", records, 60_000, {"id": "1", "conversations": turns, "data_source": "made up"})


def scienceqa(root: Path, records: int) -> None:
    """Questions with pictures of 40 kB."""
    fields = {"question": "which?", "choices": ["a", "b"], "answer": 1, "hint": "", "solution": ANSWER}
    write_table(root / "data", records, 40_000, fields)


def write_table(folder: Path, rows: int, picture: int, fields: dict) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    with pq.ParquetWriter(folder / "train-00000-of-00001.parquet", table(random, 1, picture, fields).schema) as file:
        for start in range(0, rows, ROWS):
            file.write_table(table(random, min(ROWS, rows - start), picture, fields))


def table(random: np.random.Generator, rows: int, picture: int, fields: dict) -> pa.Table:
    return pa.Table.from_pylist(
        [fields | {"image": {"bytes": random.bytes(picture), "path": f"{row}.png"}} for row in range(rows)]
    )


MADE: dict[str, tuple[Callable[[Path, int], None], int]] = {
    "llava-150k": (llava_150k, 157_712),
    "librispeech": (librispeech, 28_550),
    "llava-onevision": (llava_onevision, 16_000),
    "scienceqa": (scienceqa, 6_000),
}


def measure(layout: str, share: float) -> str:
    """Makes and converts one data set; a row of the table."""
    make, whole = MADE[layout]
    records = max(50, int(whole * share) // 50 * 50)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder, "source"), records)
        command = ["convert", layout, f"{folder}/source", "--out", f"{folder}/out"]
        started, used = time.monotonic(), cpu_seconds()
        run = [sys.executable, "-c", CONVERT, *command]
        shown = subprocess.run(run, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds, used = time.monotonic() - started, cpu_seconds() - used
    memory = int(re.search(r"VmHWM:\s+(\d+) kB", shown)[1]) / 1024
    return f"{layout:16} {records:8,} {seconds:8.1f} {used:8.1f} {memory:6.0f}"


def cpu_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the records of each data set")
    share = parser.parse_args().share
    print(f"{'layout':16} {'records':>8} {'seconds':>8} {'CPU s':>8} {'MB':>6}")
    for layout in MADE:
        print(measure(layout, share), flush=True)


if __name__ == "__main__":
    main()
