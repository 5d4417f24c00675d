"""All services on this machine: one local Ray with Ray Serve in HAProxy mode, for the local stack and the tests.

    python -m services.local.node --grpc-port 9000 --http-port 8000 --runtime-dir /tmp/…

Prints one line of JSON when every application runs, and stays until SIGTERM. Where a process that Ray needs has ended
it ends at once, with status 1, and the supervisor kills the rest. `environment` must have been set before this process
started: Ray reads it when it is imported.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from services.local import loopback, ports, processes, releases, worker
from services.local.standby import Standby, StandbySettings
from services.ray import serve_config
from services.ray.environment import NODE_ENVIRONMENT
from services.ray.serve_config import SLOTS, Release
from services.registry import SERVICES

START_ATTEMPTS = 3
REMOVE_SECONDS = 60.0
RAY_PROCESSES = ("gcs_server", "raylet")
POLL_SECONDS = 0.5  # between two looks whether they run
NODE_PORTS = 4  # of HAProxy's own pages and of the proxy it falls back on


def environment(runtime_dir: Path, free_ports: list[int], replica_ports: range, ray_token: str) -> dict[str, str]:
    """What the environment of a local node must hold: that of every node, and nothing shared with another Ray here.

    `runtime_dir`: an empty folder of a short path (sockets live in it). `free_ports`: `NODE_PORTS` of them.
    `replica_ports`: a block that no other node on this machine uses; half is for gRPC, half for HTTP.
    """
    assert len(free_ports) == NODE_PORTS, free_ports
    middle = (replica_ports.start + replica_ports.stop) // 2
    return {
        **NODE_ENVIRONMENT,
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(runtime_dir / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(runtime_dir / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(runtime_dir / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(runtime_dir),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(runtime_dir / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_ports[0]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_ports[1]),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_ports[2]),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_ports[3]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(replica_ports.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(middle - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(middle),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replica_ports.stop - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",  # one machine: no proxy elsewhere still routes here
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # a node that never leaves the machine has the address 127.0.0.1
        "RAY_num_workers_soft_limit": "64",  # processes that idle are kept: `services.local.standby`
        "RAY_AUTH_TOKEN": ray_token,
    }


def run(applications: dict[str, object], servicers: list[str], grpc_port: int, http_port: int, runtime_dir: Path):
    """Starts Ray and Serve with `applications` (name → bound application) and returns once all of them run.

    Raises `RuntimeError` for one that does not start; its last line says why.
    """
    from ray import serve
    from ray.serve._private.haproxy import get_haproxy_binary

    os.environ[loopback.HAPROXY_VARIABLE] = str(loopback.haproxy_launcher(runtime_dir, get_haproxy_binary()))
    _start_ray(runtime_dir)
    serve.start(
        proxy_location=serve_config.PROXY_LOCATION,
        http_options=serve_config.http_options(ports.HOST, http_port),
        grpc_options=serve_config.grpc_options(grpc_port, servicers),
    )
    deploy(applications)


def deploy(applications: dict[str, object]) -> None:
    """Adds applications (name → bound application) to the running Serve and returns once all of them run.

    Raises `RuntimeError` for one that does not start; its last line says why.
    """
    from ray import serve

    targets = [
        serve.RunTarget(target=target, name=name, route_prefix=serve_config.route_prefix(name))
        for name, target in applications.items()
    ]
    try:
        serve.run_many(targets)
    except RuntimeError as error:  # it names the application, but not the cause
        found = serve.status().applications
        failed = {name: found[name] for name in applications if name in found}
        raise RuntimeError(explain(failed) or str(error)) from None


class Releases:
    """Those that this process has deployed: `services.local.releases.Node`."""

    def __init__(self, checkpoint: str):
        """`checkpoint`: of the environment, which the first release serves."""
        self._deployed = {SLOTS[0]: Release(SLOTS[0], checkpoint)}

    def applications(self, release: Release) -> dict[str, object]:
        from services.ray.applications import application

        return {
            serve_config.application_name(name, release.slot): application(service, release.checkpoint)
            for name, service in SERVICES.items()
        }

    def releases(self) -> list[Release]:
        return list(self._deployed.values())

    def deploy(self, release: Release) -> None:
        self._deployed[release.slot] = release
        deploy(self.applications(release))

    def remove(self, slot: str) -> None:
        from ray import serve

        if self._deployed.pop(slot, None) is not None:
            for name in SERVICES:
                serve.delete(serve_config.application_name(name, slot), _blocking=False)
            _wait_until_gone([serve_config.application_name(name, slot) for name in SERVICES])


def _wait_until_gone(names: list[str]) -> None:
    """Returns when Serve no longer has these applications, or after `REMOVE_SECONDS`."""
    from ray import serve

    until = time.monotonic() + REMOVE_SECONDS
    while set(names) & set(serve.status().applications) and time.monotonic() < until:
        time.sleep(0.1)


def explain(applications: dict[str, object]) -> str:
    """What Serve knows of the applications that failed: their tracebacks, and in the last line the errors alone."""
    tracebacks = {
        name: deployment.message.strip()
        for application in applications.values()
        for name, deployment in application.deployments.items()
        if deployment.status == "DEPLOY_FAILED"
    }
    errors = [f"{name} failed to start: {text.splitlines()[-1]}" for name, text in tracebacks.items()]
    return "\n".join([*tracebacks.values(), "; ".join(errors)])


def _start_ray(runtime_dir: Path) -> None:
    """Starts a Ray of this machine alone. Ray gives its own processes 30 s, which a busy machine can exceed."""
    import psutil
    import ray

    for attempt in range(START_ATTEMPTS):
        try:
            ray.init(
                address="local",
                num_cpus=1,
                num_gpus=0,
                object_store_memory=80 << 20,  # nothing of ours travels through it
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                _node_ip_address=ports.HOST,
                _temp_dir=str(runtime_dir / "ray"),
                runtime_env=worker.runtime_env(),
            )
            return
        except Exception:
            if attempt == START_ATTEMPTS - 1:
                raise
            ray.shutdown()
            for child in psutil.Process().children(recursive=True):  # of the node that was too slow
                child.kill()


def ray_processes() -> dict[str, int]:
    """Name → pid of the processes of Ray, started by this one, without which it replaces nothing that ends."""
    import psutil

    return {child.name(): child.pid for child in psutil.Process().children() if child.name() in RAY_PROCESSES}


def wait_for_the_end(needed: Mapping[str, int]) -> str:
    """Returns "" on SIGTERM or SIGINT, in place of what Ray does then, or the name of a process that has ended.

    `needed`: name → pid of the processes that are watched. Call it in the main thread.

    Handlers, and not a blocked mask with `sigwait`: children inherit the mask, and with SIGTERM blocked none of Ray's
    processes would end when asked to.
    """
    received = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: received.set())
    while not received.wait(POLL_SECONDS):
        if ended := next((name for name, pid in needed.items() if processes.started_at(pid) is None), ""):
            return ended
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--runtime-dir", type=Path, required=True)
    arguments = parser.parse_args()

    node = Releases(os.environ.get("PARLEY_CHECKPOINT", ""))
    (first,) = node.releases()
    applications, servicers = node.applications(first), serve_config.GRPC_SERVICER_FUNCTIONS
    run(applications, servicers, arguments.grpc_port, arguments.http_port, arguments.runtime_dir)
    commands = releases.serve(node, arguments.runtime_dir)
    standby = Standby()
    if StandbySettings().standby:
        standby.start()
    print(json.dumps({"ready": list(applications)}), flush=True)
    if ended := wait_for_the_end(ray_processes()):
        print(f"{ended} of Ray has ended", file=sys.stderr, flush=True)
        os._exit(1)  # Ray's own end would wait for it
    commands.shutdown()
    standby.stop()

    from ray import serve

    serve.shutdown()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
