"""What a large set of a user's dialogues costs to open and to read, in each format.

    python -m benchmarks.data_sources [--records 1000000] [--folder DIR] [--json FILE]

Makes the same captions of pictures in each format below a temporary folder of DIR (6 GB for a million records), and
opens each in a process of its own. JSON records name their pictures; Parquet and tars hold them, 1 KiB each.
- `ready`: seconds to open the source and count it, without imports, and `cpu`: seconds of one core, which other
  processes of the machine hardly lengthen. For Parquet the first time, when `datasets` unpacks it into its cache;
  `again` is the second time, in another process. The files were just written, so most of them are in memory.
- `open`: MB resident when the source is open, with all imports. When the reads below are done, `private`: MB of the
  process alone, and `mapped`: MB of pages of files, which all processes share and the system takes back when it has to.
- `groups`: seconds of one core for the held-out group of all records; of Parquet and tars for the first 50,000, scaled
  up.
- `reads`: random records a second of one core, to samples whose media are not decoded.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import random
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.measuring import machine, table, write_json

WORDS = [*(f"word{number}" for number in range(3000)), '"quoted"', "back\\slash", "{brace}", "[x]", "a,b", "é", "日本"]
PICTURE_BYTES = 1024
GROUPS, READS = 50_000, 20_000
SHARD = 10_000  # samples of a tar
ROWS = 50_000  # of Parquet written at once
COLUMNS = ("format", "records", "MB", "ready", "cpu", "again", "open", "private", "mapped", "groups", "reads")


def records(count: int) -> Iterator[dict]:
    source = random.Random(0)
    for number in range(count):
        question, answer = (" ".join(source.choices(WORDS, k=length)) for length in (12, 60))
        turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
        yield {"id": f"{number:09d}", "image": f"coco/{number % 118_000:012d}.jpg", "conversations": turns}


def picture(number: int) -> bytes:
    return random.Random(number).randbytes(PICTURE_BYTES)


def write_lines(path: Path, count: int) -> None:
    with path.open("w") as file:
        for record in records(count):
            file.write(json.dumps(record) + "\n")


def write_list(path: Path, count: int) -> None:
    with path.open("w") as file:
        for number, record in enumerate(records(count)):
            file.write((", " if number else "[") + json.dumps(record))
        file.write("]\n")


def write_parquet(path: Path, count: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, writer = [], None
    for number, record in enumerate(records(count), 1):
        rows.append(record | {"image": {"bytes": picture(number), "path": None}})
        if len(rows) == ROWS or number == count:
            batch, rows = pa.Table.from_pylist(rows), []
            writer = writer or pq.ParquetWriter(path, batch.schema)
            writer.write_table(batch)
    writer.close()


def write_tars(path: Path, count: int) -> None:
    path.mkdir()
    tar = None
    for number, record in enumerate(records(count)):
        if number % SHARD == 0:
            if tar:
                tar.close()
            tar = tarfile.open(path / f"{number // SHARD:05d}.tar", "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        for extension, content in (("jpg", picture(number)), ("json", json.dumps(record).encode())):
            member = tarfile.TarInfo(f"{number:09d}.{extension}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    tar.close()


FORMATS = {
    "JSON lines": ("records.jsonl", write_lines),
    "JSON list": ("records.json", write_list),
    "Parquet": ("records.parquet", write_parquet),
    "WebDataset": ("tars", write_tars),
}


def resident(kind: str) -> float:
    """MB of this process in memory. `VmRSS`: all, `RssAnon`: its own, `RssFile`: mapped pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(kind))


def measure(path: Path, cache: Path, reads: int) -> dict[str, float]:
    """Opens a source and reads from it, in this process."""
    os.environ["HF_DATASETS_CACHE"] = str(cache)
    from training.data.sources.dialogues import open_dialogues

    if path.suffix == ".parquet":
        import datasets

        import training.data.sources.tables  # noqa: F401

        datasets.disable_progress_bars()
    start, used = time.perf_counter(), time.process_time()
    source = open_dialogues(path, need_files=False)
    found = {"records": len(source), "ready": time.perf_counter() - start, "cpu": time.process_time() - used}
    found["open"] = resident("VmRSS")
    if reads:
        found |= measure_reads(source, reads, GROUPS if path.suffix in ("", ".parquet") else len(source))
    return found


def measure_reads(source, reads: int, groups: int) -> dict[str, float]:
    numbers = random.Random(1).choices(range(len(source)), k=reads)
    used = time.process_time()
    for number in numbers:
        source[number]
    found = {
        "reads": reads / (time.process_time() - used),
        "mapped": resident("RssFile"),
        "private": resident("RssAnon"),
    }
    groups = min(groups, len(source))
    used = time.process_time()
    for number in range(groups):
        source.group(number)
    return found | {"groups": (time.process_time() - used) * len(source) / groups}


def in_a_process(*arguments) -> dict[str, float]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def size(path: Path) -> float:
    """MB"""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    facts, rows = machine(), []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name, (file, write) in FORMATS.items():
            path = Path(folder) / file
            write(path, options.records)
            found = in_a_process(path, Path(folder) / "cache", 0) if name == "Parquet" else {}
            again = in_a_process(path, Path(folder) / "cache", READS)
            first = again | {name: found[name] for name in ("ready", "cpu") if name in found}
            rows.append(first | {"format": name, "MB": size(path), "again": again["ready"]})
    print(json.dumps(facts))
    print(table(rows, COLUMNS))
    if options.json:
        write_json(options.json, {"machine": facts, "sources": rows})


if __name__ == "__main__":
    main()
