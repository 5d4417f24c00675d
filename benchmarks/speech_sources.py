"""How fast a user's speech is opened, and how much memory its index takes: each format, in a process of its own.

    python -m benchmarks.speech_sources --utterances 1000000

Writes manifests of made-up utterances (no audio) to a temporary folder and removes them. `ready s` is opening the
source and reading every utterance's speaker, as the split into learned and held-out records does; `read µs` is one
record at a random place; `resident MB` is the process with the source ready, `before MB` the same process without it
(Python, torch, and lhotse for its manifests). Both times are of the processor, so that other work on the machine does
not count.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measuring import machine, table

UTTERANCES_A_SPEAKER = 500
SECONDS = 3.25  # of each utterance
SAMPLED = 5000  # records that are read at random places
LETTERS = random.Random(0)
WORDS = ["".join(LETTERS.choices("etaoinshrdlu", k=LETTERS.randint(2, 9))) for _ in range(5000)]
COLUMNS = ("format", "utterances", "file MB", "ready s", "read µs", "before MB", "resident MB")


def text_of(number: int) -> str:
    return " ".join(WORDS[(number * 2_654_435_761 + k * 40_503) % 99_991 % len(WORDS)] for k in range(12))


def line_of(number: int) -> dict:
    return {
        "audio": f"clips/{number // 1000:04d}/{number:08d}.flac", "text": text_of(number), "duration": SECONDS,
        "speaker": str(number // UTTERANCES_A_SPEAKER), "id": f"utt-{number:08d}",
    }  # fmt: skip


def supervision_of(number: int) -> dict:
    return {
        "id": f"utt-{number:08d}", "recording_id": f"rec-{number:08d}", "start": 0.0, "duration": SECONDS, "channel": 0,
        "text": text_of(number), "language": "English", "speaker": str(number // UTTERANCES_A_SPEAKER),
    }  # fmt: skip


def recording_of(number: int) -> dict:
    source = {"type": "file", "channels": [0], "source": f"clips/{number // 1000:04d}/{number:08d}.flac"}
    return {
        "id": f"rec-{number:08d}", "sources": [source], "sampling_rate": 16_000,
        "num_samples": int(SECONDS * 16_000), "duration": SECONDS, "channel_ids": [0],
    }  # fmt: skip


def cut_of(number: int) -> dict:
    return {
        "id": f"utt-{number:08d}", "start": 0.0, "duration": SECONDS, "channel": 0,
        "supervisions": [supervision_of(number)], "recording": recording_of(number), "type": "MonoCut",
    }  # fmt: skip


def write_json_lines(path: Path, record: Callable[[int], dict], count: int) -> Path:
    with gzip.open(path, "wt", compresslevel=3) if path.suffix == ".gz" else path.open("w") as file:
        file.writelines(json.dumps(record(number)) + "\n" for number in range(count))
    return path


def write_supervisions(folder: Path, count: int) -> Path:
    write_json_lines(folder / "recordings.jsonl.gz", recording_of, count)
    return write_json_lines(folder / "supervisions.jsonl.gz", supervision_of, count)


def write_kaldi(folder: Path, count: int) -> Path:
    """Ten utterances a recording."""
    lines: dict[str, Callable[[int], str]] = {
        "text": lambda i: f"utt-{i:08d} {text_of(i)}\n",
        "utt2spk": lambda i: f"utt-{i:08d} speaker-{i // UTTERANCES_A_SPEAKER}\n",
        "segments": lambda i: f"utt-{i:08d} rec-{i // 10:08d} {i % 10 * 4} {i % 10 * 4 + SECONDS}\n",
        "wav.scp": lambda i: "" if i % 10 else f"rec-{i // 10:08d} clips/{i // 10:08d}.flac\n",
    }
    for name, line in lines.items():
        with (folder / name).open("w") as file:
            file.writelines(line(number) for number in range(count))
    return folder


FORMATS: dict[str, Callable[[Path, int], Path]] = {
    "JSON lines": lambda folder, count: write_json_lines(folder / "speech.jsonl", line_of, count),
    "JSON lines, gzip": lambda folder, count: write_json_lines(folder / "speech.jsonl.gz", line_of, count),
    "lhotse cuts, gzip": lambda folder, count: write_json_lines(folder / "cuts.jsonl.gz", cut_of, count),
    "lhotse supervisions, gzip": write_supervisions,
    "Kaldi with segments": write_kaldi,
}


def resident() -> float:
    """Memory of this process, MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def measure(path: Path) -> dict[str, float]:
    """Opens one source; to be run in a process of its own."""
    import torch  # noqa: F401 (its memory is not the index's)

    from training.data.sources.speech import open_speech

    if path.name.startswith(("cuts", "supervisions")):
        import lhotse  # noqa: F401
    before, started = resident(), time.process_time()
    source = open_speech(path)
    for index in range(len(source)):
        source.group(index)
    ready, started = time.process_time() - started, time.process_time()
    rng = random.Random(0)
    for _ in range(SAMPLED):
        source.where(rng.randrange(len(source)))  # reads the whole record, and does not look for its file
    read = (time.process_time() - started) / SAMPLED
    return {"ready s": ready, "read µs": 1e6 * read, "before MB": before, "resident MB": resident()}


def row(name: str, folder: Path, count: int) -> dict[str, object]:
    path = FORMATS[name](folder, count)
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    command = [sys.executable, "-m", "benchmarks.speech_sources", "--measure", str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"format": name, "utterances": count, "file MB": size, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=1_000_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    rows = []
    for name in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(name, Path(folder), arguments.utterances))
    print(table(rows, COLUMNS))
    print(", ".join(f"{name} {value}" for name, value in machine().items()))


if __name__ == "__main__":
    main()
