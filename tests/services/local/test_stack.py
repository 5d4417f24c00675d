"""`LocalStack` before anything is started, and the end of a foreground process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.local import ports, processes, state
from services.local.stack import LocalStack, stop_running

ROOT = Path(__file__).parents[3]

FOREGROUND = """
import pathlib, sys, time
from cli import demo, up
from services.local.stack import LocalStack

class Slow(LocalStack):
    def start(self, on_progress):
        print("up", flush=True)
        time.sleep(60)

    def stop(self):
        print("stopping", flush=True)
        time.sleep(1)
        pathlib.Path(sys.argv[2]).touch()

module = {"demo": demo, "up": up}[sys.argv[1]]
module.LocalStack = Slow
sys.argv = ["parley"]
module.app()
"""

WAITING = """
import signal
from services.local import parent

signal.signal(signal.SIGTERM, parent.request_stop)
parent.report("", "ready")
while not parent.stop_requested(0.5):
    pass
"""


@pytest.mark.parametrize("command", ["up", "demo"])
def test_further_signals_do_not_interrupt_the_stop(command, tmp_path):
    foreground = subprocess.Popen(
        [sys.executable, "-c", FOREGROUND.replace("sys.argv[2]", repr(str(tmp_path / "down"))), command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    lines = iter(foreground.stdout.readline, "")
    assert any(line == "up\n" for line in lines)
    foreground.send_signal(signal.SIGINT)
    assert any(line == "stopping\n" for line in lines)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        foreground.send_signal(number)
    foreground.wait(60)
    assert (tmp_path / "down").exists(), "".join(lines)
    foreground.stdout.close()


def test_one_port_is_not_taken_for_two(options, tmp_path):
    (port,) = ports.free(1)
    stack = LocalStack(Path(options.checkpoint), tmp_path / "stack", port=port, http_port=port)
    with pytest.raises(ValueError, match=f"port {port} is taken; choose another with --port"):
        stack.start()
    assert os.listdir(tmp_path / "stack") == []


def test_the_folder_of_a_stack_is_for_its_user_only(options, tmp_path):
    """Also one that an earlier version has left open."""
    (tmp_path / "stack").mkdir(mode=0o755)
    with socket.create_server((ports.HOST, 0)) as taken, pytest.raises(ValueError, match="is taken"):
        LocalStack(Path(options.checkpoint), tmp_path / "stack", port=taken.getsockname()[1]).start()
    assert (tmp_path / "stack").stat().st_mode & 0o777 == 0o700


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is no checkpoint: it holds no manifest\.json"):
        LocalStack(tmp_path, tmp_path / "stack").start()


def test_a_setting_of_the_gateway_that_is_wrong_is_named_before_anything_starts(options, tmp_path, monkeypatch):
    monkeypatch.setenv("PARLEY_GATEWAY_STORE_EMBEDDINGS_MB", "256mb")
    with pytest.raises(ValueError, match=r"store\.embeddings_mb"):
        LocalStack(Path(options.checkpoint), tmp_path / "stack", port=0, http_port=0).start()
    assert os.listdir(tmp_path / "stack") == []


def written_state(tmp_path, process: subprocess.Popen, started: float) -> state.StackState:
    """The state of a stack whose supervisor is `process`, with one file in its runtime folder."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    running = state.StackState("test-stack", process.pid, started, str(runtime), gateway="127.0.0.1:1")
    state.write(tmp_path, running)
    return running


@pytest.fixture
def sleeper(tmp_path):
    process = processes.start(["sleep", "600"], dict(os.environ), tmp_path / "log")
    yield process
    process.kill()
    process.wait()


def test_a_second_stack_in_one_folder_is_refused(options, tmp_path, sleeper):
    written_state(tmp_path, sleeper, processes.started_at(sleeper.pid))
    with pytest.raises(ValueError, match=r"a stack already runs here \(gateway at 127\.0\.0\.1:1\)"):
        LocalStack(Path(options.checkpoint), tmp_path, port=0, http_port=0).start()


def test_stopping_ends_the_supervisor_and_removes_what_it_left(tmp_path, sleeper):
    running = written_state(tmp_path, sleeper, processes.started_at(sleeper.pid))
    assert stop_running(tmp_path)
    assert sleeper.wait() == -signal.SIGTERM
    assert not Path(running.runtime_dir).exists() and state.read(tmp_path) is None
    assert not stop_running(tmp_path)


def test_the_supervisor_is_told_to_stop_though_a_forked_process_holds_its_pipe_open(options, tmp_path):
    stack = LocalStack(Path(options.checkpoint), tmp_path, port=0, http_port=0)
    stack.supervisor = supervisor = subprocess.Popen(
        [sys.executable, "-c", WAITING], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert b"ready" in supervisor.stdout.readline()
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    forked.start()
    try:
        stack.stop(seconds=10)
    finally:
        forked.kill()
        forked.join()
    assert supervisor.returncode == 0


def test_another_process_with_the_pid_of_a_supervisor_is_left_alone(tmp_path, sleeper):
    written_state(tmp_path, sleeper, processes.started_at(sleeper.pid) - 1)
    assert stop_running(tmp_path)
    assert sleeper.poll() is None and state.read(tmp_path) is None
