"""Processes that end together: found, watched and ended as one family, whatever killed the head of it.

Linux gives three handles. A child may ask to be killed when its parent dies. A process may adopt the orphans among its
descendants. And the environment of a process says which stack started it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

MARKER = "PARLEY_STACK_ID"  # in the environment of every process of a stack

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """From now on descendants whose parent dies become children of this process."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(arguments: list[str], environment: dict[str, str], log: Path, **options) -> subprocess.Popen:
    """Starts a child that is killed when this process dies. Its output goes to `log` unless `options` differ."""
    parent = os.getpid()

    def bind_to_parent() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    with log.open("ab") as output:
        options = {"stdout": output, "stderr": output, "stdin": subprocess.DEVNULL} | options
        return subprocess.Popen(arguments, env=environment, preexec_fn=bind_to_parent, **options)


def started_at(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: with the pid it names one process for ever. None: gone."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[19])


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`, children before grandchildren."""
    children: dict[int, list[int]] = {}
    for child, (parent, status) in _family().items():
        if status != "Z":
            children.setdefault(parent, []).append(child)
    found, frontier = [], [pid]
    while frontier:
        frontier = [child for parent in frontier for child in children.get(parent, ())]
        found += frontier
    return found


def marked(stack_id: str) -> list[int]:
    """Every living process that was started by the stack of this id, as far as its environment can be read."""
    wanted = f"{MARKER}={stack_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def end(process: subprocess.Popen, seconds: float) -> None:
    """Asks a child to end, and kills it after `seconds`."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def kill_all(find, seconds: float = 10.0) -> bool:
    """Kills what `find()` lists until it lists nothing; True once that is so, False if it is not after `seconds`."""
    until = time.monotonic() + seconds
    while pids := find():
        if time.monotonic() > until:
            return False
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    return True


def reap_adopted(own: Iterable[subprocess.Popen]) -> None:
    """Takes leave of ended children that were adopted; `own` are left to their `Popen`."""
    ours = {process.pid for process in own}
    for pid, (parent, status) in _family().items():
        if parent == os.getpid() and status == "Z" and pid not in ours:
            os.waitpid(pid, os.WNOHANG)


def _family() -> dict[int, tuple[int, str]]:
    """Every process of this machine → (its parent, its state letter)."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
            found[int(entry.name)] = int(fields[1]), fields[0]
    return found


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the third on (state, parent, …); None if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()
