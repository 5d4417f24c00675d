"""vLLM's processes end with the service that started them, however it ends."""

import subprocess
import sys
import time
import tomllib
from importlib import import_module
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[4]

# A process that starts another one, as vLLM does, and waits.
PARENT = """
import multiprocessing, time
from services.llm_core.vllm_backend.plugin import end_with_parent

def child():
    end_with_parent()
    time.sleep(600)

if __name__ == "__main__":
    end_with_parent()  # which leaves the first process alone
    started = multiprocessing.get_context("fork").Process(target=child)
    started.start()
    print(started.pid, flush=True)
    time.sleep(600)
"""


def test_a_process_of_vllm_ends_with_the_service_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())
    time.sleep(1.5)  # more than one look
    assert parent.poll() is None and psutil.pid_exists(child)
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 30
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_vllm_finds_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["vllm.general_plugins"]["parley"].partition(":")
    assert callable(getattr(import_module(module), name))
