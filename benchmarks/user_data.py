"""Until a stage over a large mix of a user's data is ready: seconds and memory, and what finding a sample costs.

    nice -n 5 python -m benchmarks.user_data [--records 1000000] [--folder DIR]

Makes JSON lines of captions below a temporary folder of DIR (300 bytes a record), then builds the data of stage 1.2 in
this process, twice: `first` looks at the picture of every record, `later` reads what was kept of that. `resident`: MB
in all; `own`: without the libraries. `find`: microseconds from the number of a sample to its record.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from benchmarks.data_sources import resident, write_lines
from benchmarks.measuring import machine, table
from parley.config import preset
from training.data.mix import read_mix
from training.recipe import find_stage
from training.stages.data_table import data_table
from training.stages.user_data import UserData

COLUMNS = ("when", "records", "ready", "resident", "own", "find")
FOUND = 5000  # samples


def build(file: Path, work: Path) -> UserData:
    stage, mix = find_stage("1.2"), read_mix(file, plain="captions")
    return UserData(stage, stage.full, mix, preset("vita-7b"), None, 0, work / "1.2")


def measure(when: str, file: Path, work: Path, before: float) -> tuple[UserData, dict]:
    start = time.perf_counter()
    data = build(file, work)
    ready = time.perf_counter() - start
    found = {"when": when, "records": len(data.mix.sources[0].source), "ready": ready, "resident": resident("VmRSS")}
    start = time.perf_counter()
    for number in range(FOUND):
        data.epochs[number]
    return data, found | {"own": resident("VmRSS") - before, "find": 1e6 * (time.perf_counter() - start) / FOUND}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    options = parser.parse_args()
    print(json.dumps(machine()))
    before, rows = resident("VmRSS"), []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = Path(folder) / "captions.jsonl"
        write_lines(file, options.records)
        for when in ("first", "later"):
            data, row = measure(when, file, Path(folder) / "work", before)
            rows.append(row)
        print(data_table(data))
    print(table(rows, COLUMNS))


if __name__ == "__main__":
    main()
