"""Runs tasks of lmms-eval, the field's harness, against the chat endpoint of a stack, and prints their scores.

    python -m benchmarks.harness                           our three small tasks, against a stack that is started for it
    python -m benchmarks.harness mmstar ai2d --address 127.0.0.1:8080        against one that runs; needs the network

lmms-eval is in an environment of its own (`make lmms-eval`). Which task is which row of the paper: docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import harness_rows
from benchmarks.harness_proxy import VideoProxy
from parley.config import preset
from services.local.stack import LocalStack

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-lmms/bin/python"
TASKS = Path(__file__).parent / "lmms_eval_tasks"
PICTURES, VIDEOS, SPOKEN = "parley_pictures", "parley_videos", "parley_spoken"  # of that folder
FAILED = "[LMMS_EVAL_REQUEST_FAILED"  # how the "answer" to a request begins that the server refused
# Shipped tasks whose rows hold decoded sound. lmms-eval's `openai` models send sound from files only, and leave the
# rest out without a word: the model would be asked about nothing.
WITHOUT_SOUND = ("librispeech", "wenet_speech", "voicebench")


def command(tasks: Sequence[str], address: str, out: Path, arguments: argparse.Namespace) -> list[str]:
    """lmms-eval over these tasks."""
    sound = arguments.sound or SPOKEN in tasks
    model = {
        "model": "parley",
        "base_url": f"http://{address}/v1",
        "api_key": arguments.key,
        "num_concurrent": arguments.concurrency,
    }
    model |= {} if sound else {"pass_video_url": True}  # paths, which `VideoProxy` reads
    options = ["--model", "openai", "--model_args", ",".join(f"{name}={value}" for name, value in model.items())]
    options += ["--tasks", ",".join(tasks), "--include_path", str(TASKS), "--batch_size", "1"]
    options += ["--output_path", str(out), "--log_samples"]
    options += ["--limit", str(arguments.limit)] if arguments.limit else []
    # The `openai` model of this mode sends sound; the other sends the messages of a task, in which it is not possible.
    options += ["--force_simple"] if sound else []
    return [str(PYTHON), "-m", "lmms_eval", "eval", *options]


def run_tasks(tasks: Sequence[str], address: str, out: Path, arguments: argparse.Namespace) -> list[dict]:
    """The scores of tasks, as `scores` gives them. Raises `SystemExit` if lmms-eval writes none: it may end with 0."""
    with tempfile.TemporaryDirectory() as folder:
        harness_rows.write(Path(folder))  # our tasks look for them where lmms-eval is started
        environment = {**os.environ, "HF_DATASETS_CACHE": str(Path(folder) / "cache")} if ours(tasks) else None
        done = subprocess.run(command(tasks, address, out, arguments), cwd=folder, env=environment)
    found = scores(out)
    if done.returncode or not found:
        sys.exit(f"lmms-eval failed (status {done.returncode}) and wrote no score; its lines above say why")
    return found


def ours(tasks: Sequence[str]) -> bool:
    return set(tasks) <= {PICTURES, VIDEOS, SPOKEN}


def scores(out: Path) -> list[dict]:
    """What lmms-eval wrote into a folder: each metric of each task, the questions, and how many requests failed."""
    found = []
    for file in sorted(out.rglob("*_results.json")):
        for task, metrics in json.loads(file.read_text())["results"].items():
            samples = list(file.parent.glob(f"{file.name.removesuffix('_results.json')}_samples_{task}.jsonl"))
            asked, failed = answers(samples)
            for name, value in metrics.items():
                metric, _, kept = name.partition(",")
                if kept and "_stderr" not in metric and isinstance(value, int | float):
                    found.append({"task": task, "metric": metric, "value": value, "asked": asked, "failed": failed})
    return found


def answers(files: Sequence[Path]) -> tuple[int, int]:
    """How many questions the samples of a task hold, and how many of them have no answer."""
    asked = failed = 0
    for file in files:
        with file.open() as lines:
            for line in lines:
                asked += 1
                failed += FAILED in line
    return asked, failed


@contextmanager
def stack(arguments: argparse.Namespace) -> Iterator[str]:
    """host:port of a gateway's HTTP server: the one that was named, or of a stack that lives as long as the context."""
    if arguments.address:
        yield arguments.address
        return
    os.environ.setdefault("PARLEY_GATEWAY_CONVERSATION_MAX_FRAMES", str(arguments.frames))
    with tempfile.TemporaryDirectory() as folder, LocalStack(arguments.checkpoint, Path(folder), 0, 0) as started:
        yield started.state.http


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of lmms-eval; none: {PICTURES}, {VIDEOS}, {SPOKEN}")
    parser.add_argument("--address", help="host:port of the HTTP server of a gateway that runs; none: one is started")
    parser.add_argument("--key", default="none", help="an API key, where the gateway asks for one")
    parser.add_argument(
        "--checkpoint", type=Path, default=ROOT / "checkpoints/nano", help="of the stack that is started"
    )
    parser.add_argument("--limit", type=int, help="questions of each task")
    parser.add_argument("--concurrency", type=int, default=4, help="questions asked at the same time")
    parser.add_argument("--frames", type=int, default=16, help="of a video, at most; the gateway must take as many")
    parser.add_argument("--sound", action="store_true", help="the questions are sound files")
    parser.add_argument("--out", type=Path, help="keep what lmms-eval writes, every answer too, in this folder")
    chosen = parser.parse_args(arguments)
    if silent := [task for task in chosen.tasks if task.startswith(WITHOUT_SOUND)]:
        parser.error(f"lmms-eval would ask {', '.join(silent)} without the sound; use `parley eval --suite`")
    if not PYTHON.exists():
        parser.error(f"there is no lmms-eval in {PYTHON.parents[1].name}: run `make lmms-eval`")
    return chosen


def main(arguments: list[str] | None = None) -> None:
    chosen = parse(arguments)
    groups = [chosen.tasks] if chosen.tasks else [[PICTURES, VIDEOS], [SPOKEN]]
    found = []
    vision = preset("vita-7b").vision.model_copy(update={"max_frames": chosen.frames})
    with (
        stack(chosen) as address,
        VideoProxy(address, vision) as proxy,
        tempfile.TemporaryDirectory() as temporary,
    ):
        for number, tasks in enumerate(groups):
            out = (chosen.out or Path(temporary)).absolute() / str(number)
            found += run_tasks(tasks, proxy.address, out, chosen)
    for row in found:
        missed = f", {row['failed']} of them failed" if row["failed"] else ""
        print(f"{row['task']}: {row['metric']} {row['value']:.4g} ({row['asked']} questions{missed})")
    sys.exit(any(row["failed"] for row in found))


if __name__ == "__main__":
    main()
