"""Processes that end together: started, found and ended as one process tree, even when its root is killed.

Linux offers three means. A child may ask to be killed when its parent dies. A process may adopt the orphans among its
descendants. And the environment of a process says which stack started it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

MARKER = "PARLEY_STACK_ID"  # in the environment of every process of a stack

MAX_OUTPUT_BYTES = 32 << 20  # of a child's output: what libraries print by themselves, such as of a broken MP3

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


def cut_output(log: Path, max_bytes: int = MAX_OUTPUT_BYTES) -> None:
    """Moves the output of a running child to LOG.1 where it has grown too long; the child writes on in `log`."""
    if log.stat().st_size > max_bytes:
        shutil.copyfile(log, f"{log}.1")
        os.truncate(log, 0)


def started_at(pid: int) -> float | None:
    """When a process started, in seconds since boot; None if it has ended. Together with the pid it is unique.

    Not in seconds since the epoch: those change for a running process whenever the clock is set.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return round(process.create_time() - psutil.boot_time(), 2)  # the kernel counts hundredths
    except psutil.NoSuchProcess:
        return None


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`, at any depth."""
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [process.pid for process in below if started_at(process.pid) is not None]


def descendants_beside(pid: int, kept: Iterable[subprocess.Popen]) -> list[int]:
    """Every living process below `pid` except these and those below them."""
    spared = {child.pid for child in kept}
    return [found for found in descendants(pid) if not spared.intersection(_and_those_above(found))]


def _and_those_above(pid: int) -> set[int]:
    try:
        return {pid, *(parent.pid for parent in psutil.Process(pid).parents())}
    except psutil.NoSuchProcess:
        return set()


def marked(stack_id: str) -> list[int]:
    """Every other living process that the stack of this id started, as far as its environment can be read."""
    return [
        process.pid
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get(MARKER) == stack_id and process.pid != os.getpid()
    ]


def end(process: subprocess.Popen, seconds: float) -> None:
    """Asks a child to end, and kills it after `seconds`."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def kill_all(find: Callable[[], list[int]], seconds: float = 10.0) -> bool:
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
    """Reaps ended children that were adopted; those of `own` are left to their `Popen`."""
    ours = {process.pid for process in own}
    for child in psutil.Process().children():
        if child.pid not in ours and child.status() == psutil.STATUS_ZOMBIE:
            os.waitpid(child.pid, os.WNOHANG)
