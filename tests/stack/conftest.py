"""One running stack for all tests of this folder: Valkey, Ray Serve with the four services, the gateway.

Its model is `tiny_checkpoint`: random weights, so answers are words without meaning. Only one stack runs at a time:
every test here carries the xdist group `ray`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.collector import Collector
from benchmarks.measuring import ADMISSION
from services.local import processes
from services.local.stack import LocalStack

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("ray"))
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def stack_folder(tmp_path_factory) -> Path:
    """The working folder of the stack: `.parley/` lies in it."""
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="session")
def collector():
    """Keeps the traces of the stack."""
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="session")
def stack(stack_folder, tiny_checkpoint, collector):
    """The running stack; `stack.state` has its addresses. At its end nothing of it may be left."""
    stack = LocalStack(tiny_checkpoint, stack_folder / ".parley", port=0, http_port=0)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        for name, value in ADMISSION.items():  # these machines are busy
            environment.setenv(name, value)
        state = stack.start()
    yield stack
    tree = [state.supervisor_pid, *processes.descendants(state.supervisor_pid)]
    stack.stop()
    assert [pid for pid in tree if processes.started_at(pid)] == []
    assert not Path(state.runtime_dir).exists()


@pytest.fixture(scope="session")
def parley(stack_folder):
    """Runs the command line in the folder of the stack."""

    def run(*arguments: str, folder: Path = stack_folder, check: bool = True) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "cli.main", *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run
