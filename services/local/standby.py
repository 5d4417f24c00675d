"""A process that has imported what a service needs, so that a replica that was lost is replaced within seconds.

Of the eleven seconds that a new replica of the LLM core took, seven were importing (torch, transformers) and two were
Ray's own start of a process. Ray gives a new actor a process of the node that idles, where one does. So the node keeps
one: it asks Ray to start a process for nobody (`Standby`), which then imports everything (`import_when_idle`).
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.local import processes
from services.registry import SERVICES

if TYPE_CHECKING:
    from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub

FIRST_SECONDS = 10.0  # after the start: importing takes a core for seconds, and users come first
POLL_SECONDS = 1.0
START_SECONDS = 60.0  # that a process may take to idle before another one is asked for
CALL_SECONDS = 5.0
ASSIGNED_SECONDS = 3.0  # a process that was started for an actor has it by then
IDLE = "ray::IDLE"  # the title of a process that has nothing to do


class StandbySettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PARLEY_")

    standby: bool = Field(
        True, description="Keep a process that has imported everything, for the replica that is needed next"
    )


class Standby(threading.Thread):
    """Keeps such a process, from some time after it is started until `stop`. Ray must have been started here."""

    def __init__(self, first_seconds: float = FIRST_SECONDS) -> None:
        super().__init__(daemon=True, name="standby")
        self._first, self._stopped = first_seconds, threading.Event()

    def run(self) -> None:
        import grpc

        if self._stopped.wait(self._first):
            return
        raylet, request = _raylet(), _request()
        pid, asked = 0, -START_SECONDS  # of the one that stands by; when one was asked for
        while not self._stopped.wait(POLL_SECONDS):
            if _title(pid) == IDLE:
                continue
            pid = idle_process()
            if not pid and time.monotonic() > asked + START_SECONDS:
                asked = time.monotonic()
                with contextlib.suppress(grpc.RpcError):  # Ray is ending, or too busy
                    raylet.PrestartWorkers(request, timeout=CALL_SECONDS)
            elif pid:
                asked = -START_SECONDS

    def stop(self) -> None:
        self._stopped.set()


def _raylet() -> NodeManagerServiceStub:
    """Of this machine's node. Ray has no public way to ask it for a process."""
    import ray
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub

    node = next(node for node in ray.nodes() if node["Alive"])
    return NodeManagerServiceStub(init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"))


def _request() -> Any:
    """For one Python process of our job, with the runtime environment of replicas: Ray compares them letter by letter,
    and Serve writes that of a replica without spaces."""
    from ray._private.worker import global_worker
    from ray.core.generated import common_pb2, node_manager_pb2

    environment = global_worker.core_worker.get_job_config().runtime_env_info
    written = json.loads(environment.serialized_runtime_env)
    environment.serialized_runtime_env = json.dumps(written, separators=(",", ":"))
    return node_manager_pb2.PrestartWorkersRequest(
        language=common_pb2.Language.PYTHON,
        job_id=global_worker.current_job_id.binary(),
        runtime_env_info=environment,
        num_workers=1,
    )


def idle_process() -> int:
    """The pid of one of Ray's processes, started by this one, that has nothing to do; 0: there is none."""
    return next((pid for pid in processes.descendants(os.getpid()) if _title(pid) == IDLE), 0)


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
    except OSError:
        return ""


def import_when_idle() -> None:
    """In a process of Ray, when it begins: it imports every service, unless it was started for something else."""
    if StandbySettings().standby:
        threading.Thread(target=_import_when_idle, daemon=True, name="standby").start()


def _import_when_idle() -> None:
    time.sleep(ASSIGNED_SECONDS)
    if _title(os.getpid()) == IDLE:
        for service in SERVICES.values():
            service.load_servicer()
