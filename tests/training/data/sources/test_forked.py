"""Processes that are forked after a source is opened read it at the same time, as those of torch's `DataLoader` do."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# In a process of its own: one with the threads and the signal handlers of other tests is not safe to fork.
READ = """
import multiprocessing, sys
from training.data.sources.dialogues import open_dialogues

def read(index):
    return source[index].messages[1]["content"]

source = open_dialogues(sys.argv[1])
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(*pool.map(read, range(len(source)), chunksize=1), sep="|")
"""
ANSWERS = [f"answer {number}." for number in range(30)]
RECORDS = [
    {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": answer}]} for answer in ANSWERS
]


def json_list(folder: Path) -> Path:
    (folder / "a.json").write_text(json.dumps(RECORDS))
    return folder / "a.json"


def parquet(folder: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(RECORDS), folder / "a.parquet")
    return folder / "a.parquet"


def tar(folder: Path) -> Path:
    with tarfile.open(folder / "a.tar", "w") as file:
        for number, record in enumerate(RECORDS):
            member = tarfile.TarInfo(f"{number:03}.json")
            member.size = len(content := json.dumps(record).encode())
            file.addfile(member, io.BytesIO(content))
    return folder / "a.tar"


@pytest.mark.parametrize("write", [json_list, parquet, tar])
def test_forked_processes_read_the_same(tmp_path, write):
    command = [sys.executable, "-c", READ, str(write(tmp_path))]
    done = subprocess.run(command, cwd=Path(__file__).parents[4], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().split("|") == ANSWERS, done.stderr
