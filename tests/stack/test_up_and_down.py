"""`parley up` in the foreground, and its ends: Ctrl-C, `parley down`, a kill that it cannot see coming."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.local import processes, state

ROOT = Path(__file__).parents[2]


def start(folder: Path, checkpoint: Path) -> tuple[subprocess.Popen, state.StackState]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *("up", "--checkpoint", str(checkpoint), "--port", "0", "--http-port", "0")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell that starts a job in the background has it ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("ready in"):
            return process, state.read(folder / state.DIRECTORY)
    raise AssertionError("".join(lines))


@pytest.mark.parametrize("end", ["Ctrl-C", "parley down", "kill -9"])
def test_nothing_is_left_however_it_ends(end, parley, tiny_checkpoint, tmp_path):
    up, running = start(tmp_path, tiny_checkpoint)
    tree = [running.supervisor_pid, *processes.descendants(running.supervisor_pid)]
    assert len(tree) > 10
    if end == "Ctrl-C":
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
    elif end == "parley down":
        assert parley("down", folder=tmp_path).stdout == "stopped\n"
        assert up.wait(60) == 0
    else:
        up.kill()
        up.wait()
    until = time.monotonic() + 60
    while [pid for pid in tree if processes.started_at(pid)] and time.monotonic() < until:
        time.sleep(0.2)
    assert [pid for pid in tree if processes.started_at(pid)] == []
    assert processes.marked(running.stack_id) == []
    assert not Path(running.runtime_dir).exists() and state.read(tmp_path / state.DIRECTORY) is None
