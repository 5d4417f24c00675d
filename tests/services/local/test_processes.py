"""Process trees, with real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from services.local import processes

ROOT = Path(__file__).parents[3]


@pytest.fixture
def start(tmp_path):
    """Starts children that are killed after the test."""
    started = []

    def run(*arguments: str, **environment: str) -> subprocess.Popen:
        process = processes.start(list(arguments), {**os.environ, **environment}, tmp_path / "log")
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def wait_until(condition) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_start_times_do_not_change_and_end_with_the_process(start):
    process = start("sleep", "600")
    when = processes.started_at(process.pid)
    assert 0 < processes.started_at(os.getpid()) <= when == processes.started_at(process.pid)
    process.kill()
    wait_until(lambda: is_zombie(process.pid))
    assert processes.started_at(process.pid) is None
    process.wait()
    assert processes.started_at(process.pid) is None


def test_a_start_time_does_not_change_when_the_clock_is_set(start, monkeypatch):
    process = start("sleep", "600")
    when = processes.started_at(process.pid)
    boot = psutil.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: boot + 3600)
    assert processes.started_at(process.pid) == when


def test_descendants_are_those_of_every_depth_that_live(start):
    process = start("sh", "-c", "sh -c 'sleep 600 & true & wait' & wait")
    wait_until(lambda: len(processes.descendants(process.pid)) == 2)
    names = {psutil.Process(pid).name() for pid in processes.descendants(process.pid)}
    assert names == {"sh", "sleep"}
    assert processes.kill_all(lambda: processes.descendants(process.pid))
    process.wait()
    assert processes.descendants(process.pid) == []


def test_marked_processes_are_found_in_any_session(start):
    process = start("sh", "-c", "setsid sleep 600 & wait", **{processes.MARKER: "this-stack"})
    start("sleep", "600", **{processes.MARKER: "another-stack"})
    wait_until(lambda: len(processes.marked("this-stack")) == 2)
    assert process.pid in processes.marked("this-stack")
    assert processes.kill_all(lambda: processes.marked("this-stack"))
    assert process.wait() == -signal.SIGKILL and processes.marked("this-stack") == []


def test_what_cannot_be_killed_is_reported():
    assert not processes.kill_all(lambda: [2**22 + 1], seconds=0.1)  # above the highest pid


def test_a_child_that_ignores_sigterm_is_killed(start):
    process = start("sh", "-c", "trap '' TERM; echo ready; sleep 600")
    wait_until(lambda: processes.descendants(process.pid))
    processes.end(process, seconds=0.2)
    assert process.returncode == -signal.SIGKILL


# Starts a child, and is killed.
PARENT = """
import os, pathlib, sys
from services.local import processes
child = processes.start(["sleep", "600"], dict(os.environ), pathlib.Path(os.devnull))
print(child.pid, flush=True)
child.wait()
"""


def test_children_die_with_their_parent():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())
    assert processes.started_at(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: processes.started_at(child) is None)


# Adopts an orphan that has ended, and prints whether it was a zombie before and after `reap_adopted`.
ADOPTER = """
import os, pathlib, subprocess, time
import psutil
from services.local import processes
processes.adopt_orphans()
own = subprocess.Popen(["true"])
subprocess.run(["sh", "-c", "sleep 0.2 &"])
def zombies():
    return sorted(p.pid for p in psutil.Process().children() if p.status() == psutil.STATUS_ZOMBIE)
until = time.monotonic() + 30
while len(zombies()) < 2 and time.monotonic() < until:
    time.sleep(0.02)
print(len(zombies()))
processes.reap_adopted([own])
print(zombies() == [own.pid], own.wait())
"""


def test_adopted_orphans_are_reaped_and_own_children_are_left_to_their_popen():
    done = subprocess.run([sys.executable, "-c", ADOPTER], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "True", "0"], done.stderr


def test_what_a_child_prints_is_cut_and_the_child_writes_on(tmp_path):
    log = tmp_path / "child.log"
    program = ["sh", "-c", "echo before; read line; echo after"]
    child = processes.start(program, {**os.environ}, log, stdin=subprocess.PIPE)
    wait_until(lambda: log.read_text() == "before\n")
    processes.cut_output(log, max_bytes=10)  # it is not that long yet
    assert log.read_text() == "before\n"
    processes.cut_output(log, max_bytes=5)
    child.communicate(b"\n", timeout=30)
    assert log.read_text() == "after\n" and (tmp_path / "child.log.1").read_text() == "before\n"
