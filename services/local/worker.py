"""What each process that Ray starts on this machine does before anything else."""

from __future__ import annotations

import os
import sys

from services.local import loopback, standby


def runtime_env() -> dict[str, object]:
    """For `ray.init`."""
    path = os.pathsep.join(filter(None, sys.path))  # what this process imports, they can import that early
    return {"worker_process_setup_hook": "services.local.worker.begin", "env_vars": {"PYTHONPATH": path}}


def begin() -> None:
    loopback.listen()
    standby.import_when_idle()
