"""Installs Parley and its pinned dependencies into the Python that runs this, and never the CUDA stack by accident.

    python install.py [--torch-index URL] [--gpu 1] serve train test

Standard library only: it runs before anything is installed. Asks pip first what torch would bring; gigabytes of CUDA
packages that nobody asked for are refused in one line.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
CUDA = re.compile(r"^(nvidia-|cuda-|triton$)")


def pip(*arguments: str, capture: bool = False) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE if capture else None, text=True)
    if done.returncode != 0:
        sys.exit(f"install: pip failed; its lines above say why ({' '.join(command[3:5])} …)")
    return done.stdout or ""


def torch_pin() -> str:
    """The line of the lock that pins torch."""
    return next(line for line in LOCK.read_text().splitlines() if line.startswith("torch=="))


def cuda_packages(index: list[str]) -> list[str]:
    """What of CUDA installing torch would bring."""
    report = pip("install", "--dry-run", "-qq", "--report", "-", *index, torch_pin(), capture=True)
    names = (item["metadata"]["name"].lower() for item in json.loads(report)["install"])
    return sorted(name for name in names if CUDA.match(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("extras", nargs="*", help="of pyproject.toml: serve, train, test")
    parser.add_argument("--torch-index", default="", help="an index with the CPU build of torch")
    parser.add_argument("--gpu", default="", help="1: accept the CUDA build of torch")
    options = parser.parse_args()
    if sys.version_info[:2] != (3, 11):
        sys.exit(f"install: Parley needs Python 3.11, this is {sys.version.split()[0]}; use make PYTHON=python3.11")
    index = ["--extra-index-url", options.torch_index] if options.torch_index else []
    if options.gpu in ("", "0") and (found := cuda_packages(index)):
        sys.exit(
            f"install: {torch_pin()} would bring the CUDA stack ({found[0]} and {len(found) - 1} more); "
            "set TORCH_INDEX to an index with the CPU build, or GPU=1 to accept it"
        )
    extras = f"[{','.join(options.extras)}]" if options.extras else ""
    print("install: pinned packages, about 2 GB the first time; this takes minutes", flush=True)
    pip("install", "-qq", *index, "-c", str(LOCK), "-e", f"{ROOT}{extras}")


if __name__ == "__main__":
    main()
