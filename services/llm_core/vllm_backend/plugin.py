"""What vLLM calls in each of its processes (`vllm.general_plugins` in pyproject.toml).

They outlived a service that was killed, and kept its GPU's memory.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time

SECONDS = 1.0  # between two looks


def end_with_parent() -> None:
    """From now on this process ends at once when the one that started it is gone; the first process is left alone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.pid,), name="end-with-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    os._exit(1)
