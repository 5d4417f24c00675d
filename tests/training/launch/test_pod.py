"""The container of a pod, up to where torchrun starts: mistakes, stages that are done, and stopping."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from training.launch import pod
from training.launch.stage_job import StageJob

NANO = Path(__file__).parents[3] / "checkpoints" / "nano"


@pytest.fixture(autouse=True)
def termination_log(tmp_path, monkeypatch):
    """As Kubernetes makes it: an empty file."""
    log = tmp_path / "termination-log"
    log.touch()
    monkeypatch.setattr(pod, "TERMINATION_LOG", log)
    return log


@pytest.fixture
def no_torchrun(monkeypatch):
    def refuse(*_):
        raise AssertionError("torchrun was started")

    monkeypatch.setattr(pod, "torchrun", refuse)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": "9.9"}, "no stage '9.9'"),
        ({"stage": "1.1"}, "stage 1.1 builds on 0.1, 0.2"),
        ({"stage": "0.1", "preset": "vita-9b"}, "vita-9b"),
        ({"stage": "1.1", "preset": "vita-7b"}, "vita-7b cannot be trained yet"),
        ({"stage": "0.1", "nodes": 17}, "16 samples a step cannot be shared by 17 processes"),
        ({"stage": "1.2", "records": "/data/a.json"}, "name the checkpoint to start from"),
        ({"stage": "1.2", "start": "/nowhere"}, "/nowhere"),
    ],
)
def test_a_mistake_ends_with_2_before_torchrun_and_says_what_it_was(
    tmp_path, termination_log, no_torchrun, capfd, changes, message
):
    job = StageJob(**{"run": str(tmp_path / "run"), "endpoint": "a:1", **changes})
    assert pod.main(job.model_dump_json()) == pod.MISTAKE == 2
    assert message in termination_log.read_text()
    assert message in capfd.readouterr().err


@pytest.mark.parametrize("text", ["", "{", '{"stage": "1.1"}', '{"stage": "1.1", "run": "r", "gpu": 1}'])
def test_an_argument_that_no_launcher_wrote_ends_with_2(no_torchrun, text):
    assert pod.main(text) == 2


def test_a_run_that_cannot_be_written_ends_with_2(tmp_path, termination_log, no_torchrun):
    (tmp_path / "file").touch()  # a folder without rights would stop no root
    job = StageJob(stage="0.1", run=tmp_path / "file" / "run")
    assert pod.main(job.model_dump_json()) == 2
    assert f"cannot be written by user {os.getuid()}" in termination_log.read_text()


def test_a_stage_that_is_done_ends_with_0(tmp_path, no_torchrun, capfd):
    shutil.copytree(NANO, tmp_path / "3.2")
    assert pod.main(StageJob(stage="3.2", run=tmp_path).model_dump_json()) == 0
    assert "stage 3.2 is done" in capfd.readouterr().out


def test_several_pods_meet_at_the_endpoint_under_the_jobs_name(tmp_path):
    job = StageJob(stage="0.1", run=tmp_path, nodes=4, processes=8, endpoint="a-0.a:29500", job="a")
    command = pod.torchrun(job, "{}")
    assert {"--nnodes=4", "--nproc-per-node=8", "--rdzv-backend=c10d", "--rdzv-id=a"} <= set(command)
    assert "--rdzv-endpoint=a-0.a:29500" in command
    assert "--standalone" in pod.torchrun(StageJob(stage="0.1", run=tmp_path), "{}")


SLEEPER = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(75)); time.sleep(60)"


@pytest.mark.parametrize(
    ("script", "stopped", "code"),
    [(SLEEPER, True, pod.STOPPED), ("raise SystemExit(3)", False, 1), ("", False, 0)],
)
def test_exit_status_of_torchrun(tmp_path, monkeypatch, script, stopped, code):
    monkeypatch.setattr(pod, "torchrun", lambda *_: [sys.executable, "-c", script])
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    running = pod.Pod(StageJob(stage="0.1", run=tmp_path))
    if stopped:
        threading.Thread(target=_stop_when_up, args=(running,)).start()
    try:
        assert running.run() == code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_when_up(running: pod.Pod) -> None:
    """As the kubelet: SIGTERM to the container's process."""
    while running._child is None:
        time.sleep(0.02)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def test_no_traceback_on_a_mistake(tmp_path):
    command = [sys.executable, "-m", "training.launch.pod", f'{{"stage": "1.1", "run": "{tmp_path}"}}']
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("stage cannot be trained: stage 1.1 builds on 0.1, 0.2")
    assert "Traceback" not in ended.stderr
