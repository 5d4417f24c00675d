"""What a training step costs on this machine: tokens/s, TFLOP/s and peak memory of the recipe's stages at full size.

    python -m benchmarks.train_step                   everything; at most twelve minutes on one H100
    python -m benchmarks.train_step --only card 1.2   some of it
    python -m benchmarks.train_step --size small      tiny sizes: does the program work here?

Each case runs in a process of its own, with weights drawn at random on the device and passes of 6,200 packed tokens: a
picture of 12 tiles and a thumbnail, and text. The card's own matrix products and copies come first, as a limit. The
peer is Hugging Face's Trainer on the same language model and tokens. Without a GPU the small sizes are taken.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.measuring import machine, percentile
from benchmarks.train_step_cases import CASES
from benchmarks.train_step_setting import Case, Setting

SECONDS_A_CASE = 150
PEAK = 989.0  # TFLOP/s: data sheet of an H100 SXM, dense bf16


def run_case(name: str, size: str) -> dict:
    """In another process, so that each begins with an empty device. What went wrong is in "error"."""
    command = [sys.executable, "-m", "benchmarks.train_step", "--case", name, "--size", size]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_A_CASE)
    except subprocess.TimeoutExpired:
        return {"case": name, "error": f"took longer than {SECONDS_A_CASE} s"}
    if done.returncode:
        return {"case": name, "error": (done.stderr.strip().splitlines() or ["?"])[-1][:200]}
    return {"case": name, **json.loads(done.stdout.splitlines()[-1])}


def measure(case: Case, setting: Setting) -> dict:
    """The case in this process: warm-up, then steps."""
    with tempfile.TemporaryDirectory() as folder:
        built = case.build(setting, Path(folder))
        seconds = built.seconds or timed(built.step, setting)
        found = {"what": case.what, "p50_ms": round(1000 * percentile(seconds, 0.5), 1)}
        found["p95_ms"] = round(1000 * percentile(seconds, 0.95), 1)
        if built.tokens:
            found["tokens_per_second"] = round(built.tokens / percentile(seconds, 0.5))
        if built.operations:
            found["tflops"] = float(f"{built.operations / percentile(seconds, 0.5) / 1e12:.3g}")
        if setting.device.type == "cuda":
            found["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 1)
        return found | built.more()


def timed(step: Callable[[], object], setting: Setting) -> list[float]:
    """Seconds of each step."""
    seconds = []
    for number in range(setting.warm_up + setting.steps):
        synchronize(setting.device)
        began = time.perf_counter()
        step()
        synchronize(setting.device)
        if number >= setting.warm_up:
            seconds.append(time.perf_counter() - began)
    return seconds


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def table(rows: list[dict]) -> str:
    lines = [f"{'case':12} {'tokens/s':>10} {'TFLOP/s':>9} {'of 989':>7} {'p50 ms':>9} {'p95 ms':>9} {'GB':>6}  what"]
    for row in rows:
        if "error" in row:
            lines.append(f"{row['case']:12} {row['error']}")
            continue
        share = f"{100 * row['tflops'] / PEAK:.0f} %" if "tflops" in row else ""
        columns = (row.get("tokens_per_second", ""), row.get("tflops", ""), share, row["p50_ms"], row["p95_ms"])
        rate, tflops, share, p50, p95 = columns
        notes = "".join(f"; {name.replace('_', ' ')} {value}" for name, value in row.items() if name not in SHOWN)
        lines.append(
            f"{row['case']:12} {rate:>10} {tflops:>9} {share:>7} {p50:>9} {p95:>9} {row.get('peak_gb', ''):>6}  "
            f"{row['what']}{notes}"
        )
    return "\n".join(lines)


SHOWN = ("case", "what", "p50_ms", "p95_ms", "tokens_per_second", "tflops", "peak_gb")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(CASES), metavar="CASE", help=f"of: {', '.join(CASES)}")
    parser.add_argument("--size", choices=["full", "small"], help="default: full on a GPU, small elsewhere")
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = arguments.size or ("full" if torch.cuda.is_available() else "small")
    if arguments.case:
        print(json.dumps(measure(CASES[arguments.case], Setting.of(size))))
        return
    facts, rows = machine(), []
    print(json.dumps(facts | {"size": size}))
    for name in arguments.only or CASES:
        rows.append(run_case(name, size))
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    print("\n" + table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": facts, "size": size, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
