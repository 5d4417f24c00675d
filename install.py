"""Installs Parley and its pinned dependencies into the Python that runs this, with the build of torch that fits here.

    python install.py [--torch-index URL] [--gpu 0|1] serve test

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # PyTorch's own public index of CPU builds
DRIVER_FILES = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"))
CUDA = re.compile(r"^(nvidia-|cuda-|triton$)")
DRY_RUN_PIP = (25, 3)  # from here on `pip install --dry-run` reads metadata; before, it downloads every wheel
PIP_PIN = "pip==26.3"


def pip(*arguments: str, capture: bool = False) -> str:
    """Runs pip; exits where it fails. Returns its output if `capture`."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE if capture else None, text=True)
    if done.returncode != 0:
        sys.exit(f"install: pip failed; its lines above say why (pip {' '.join(arguments)})")
    return done.stdout or ""


def say(message: str) -> None:
    print(f"install: {message}", flush=True)


def extras_table() -> dict[str, list[str]]:
    """The extras of pyproject.toml."""
    import tomllib  # not in a Python too old, which shall read so in one line

    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def with_included(names: set[str], table: dict[str, list[str]]) -> set[str]:
    """The extras `names` and those that they include."""
    lines = " ".join(line for name in names for line in table[name])
    included = {name for group in re.findall(r"\bparley\[(.*?)\]", lines) for name in group.split(",")}
    return names if included <= names else with_included(names | included, table)


def torch_pin() -> str:
    """The line of the lock that pins torch."""
    return next(line for line in LOCK.read_text().splitlines() if line.startswith("torch=="))


def has_nvidia_driver() -> bool:
    """Whether this machine has an NVIDIA driver."""
    if any(path.exists() for path in DRIVER_FILES):
        return True
    tool = shutil.which("nvidia-smi")
    try:
        return tool is not None and subprocess.run([tool, "-L"], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def update_pip() -> None:
    """Replaces a pip that would download gigabytes to answer `cuda_packages`."""
    installed = version("pip")
    if tuple(int(part) for part in re.findall(r"\d+", installed)[:2]) < DRY_RUN_PIP:
        say(f"pip {installed} is too old to ask it what torch needs; installing {PIP_PIN} here")
        pip("install", "-qq", PIP_PIN)


def cuda_packages() -> list[str]:
    """The CUDA packages that torch from pip's own index would bring."""
    update_pip()
    report = pip("install", "--dry-run", "-qq", "--report", "-", torch_pin(), capture=True)
    names = (item["metadata"]["name"].lower() for item in json.loads(report)["install"])
    return sorted(name for name in names if CUDA.match(name))


def choose_torch_index(named: str, gpu: str) -> str:
    """The index to take torch from; "" is pip's own.

    `named`: the user's choice, if any. `gpu`: "1" takes the CUDA build, "0" the CPU build, "" follows the machine.
    """
    if named:
        return named
    if gpu == "1" or (gpu == "" and has_nvidia_driver()):
        why = "GPU=1" if gpu else "there is an NVIDIA driver"
        say(f"{why}: torch from pip's own index, several GB if with CUDA; GPU=0 takes the CPU build")
        return ""
    if not cuda_packages():
        return ""
    why = "GPU=0" if gpu else "no NVIDIA driver here"
    say(f"{why}: torch for the CPU from {CPU_INDEX}; GPU=1 takes the CUDA build, TORCH_INDEX another index")
    return CPU_INDEX


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("extras", nargs="*", help="extras of pyproject.toml: gateway, model, serve, train, test")
    parser.add_argument("--torch-index", default="", help="the index to take torch from")
    parser.add_argument("--no-editable", action="store_true", help="install no link to this folder: for images")
    parser.add_argument("--gpu", default="", choices=["", "0", "1"], help="1: torch with CUDA, 0: torch for the CPU")
    return parser.parse_args(arguments)


def check(extras: list[str], table: dict[str, list[str]]) -> None:
    """Exits if an extra is not in pyproject.toml."""
    if unknown := set(extras) - table.keys():
        sys.exit(f"install: there is no extra {', '.join(sorted(unknown))}; there are {', '.join(table)}")


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    if sys.version_info < (3, 11):  # noqa: UP036 (an older Python may run this file)
        found = sys.version.split()[0]
        sys.exit(f"install: Parley needs Python 3.11 or newer, this is {found}; name another: make PYTHON=…")
    table = extras_table()
    check(options.extras, table)
    has_torch = "model" in with_included(set(options.extras), table)
    index = choose_torch_index(options.torch_index, options.gpu) if has_torch else ""
    say("installing pinned packages; the first time this takes minutes")
    chosen = ["--index-url", index] if index else []
    if has_torch and (options.gpu or options.torch_index) and is_installed("torch"):
        chosen.append("--force-reinstall")  # its other build has the same version
    if chosen:
        pip("install", "-qq", "--no-deps", *chosen, torch_pin())
    extras = f"[{','.join(options.extras)}]" if options.extras else ""
    editable = [] if options.no_editable else ["-e"]
    pip("install", "-qq", "-c", str(LOCK), *editable, f"{ROOT}{extras}")


if __name__ == "__main__":
    main()
