"""All services on this machine: one local Ray with Ray Serve in HAProxy mode, for the local stack and the tests.

    python -m services.local.node --grpc-port 9000 --http-port 8000 --runtime-dir /tmp/…

Prints one line of JSON when every application runs, and stays until SIGTERM. `environment` must have been set before
this process started: Ray reads it when it is imported. In a cluster RayService does what this module does.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from services.ray.haproxy import HAPROXY_MODE

START_ATTEMPTS = 3
NODE_PORTS = 4  # of HAProxy's own pages and of the proxy it falls back on


def environment(runtime_dir: Path, free_ports: list[int], replica_ports: range, ray_token: str) -> dict[str, str]:
    """What the environment of a local node must hold: HAProxy mode, and nothing shared with another Ray here.

    `runtime_dir`: an empty folder of a short path (sockets live in it). `free_ports`: `NODE_PORTS` of them.
    `replica_ports`: a block that no other node on this machine uses; half is for gRPC, half for HTTP.
    """
    middle = (replica_ports.start + replica_ports.stop) // 2
    return {
        **HAPROXY_MODE,
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(runtime_dir / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(runtime_dir / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(runtime_dir / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(runtime_dir),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(runtime_dir / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # a log line a request; services count for themselves
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_ports[0]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_ports[1]),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_ports[2]),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_ports[3]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(replica_ports.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(middle - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(middle),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replica_ports.stop - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",  # one machine: no proxy elsewhere still routes here
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",  # slow is not dead, on a machine at its limit
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",  # at Serve's 0.1 the controller takes 5 % of a core from the turns
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",  # of Ray's own metrics, ten times a second and unread
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # a node that never leaves the machine has the address 127.0.0.1
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": ray_token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # replicas see the accelerator without asking Ray for a share
        "RAY_worker_niceness": "0",  # Ray's 15 would have services wait for whatever else runs on the machine
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def run(applications: dict[str, object], servicers: list[str], grpc_port: int, http_port: int, runtime_dir: Path):
    """Starts Ray and Serve with `applications` (name → bound application) and returns once all of them run."""
    import psutil
    import ray
    from ray import serve

    options = dict(
        address="local",
        num_cpus=1,
        num_gpus=0,
        object_store_memory=80 << 20,  # nothing of ours travels through it
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
        _temp_dir=str(runtime_dir / "ray"),
    )
    for attempt in range(START_ATTEMPTS):
        try:
            ray.init(**options)
            break
        except Exception:  # Ray gives its own processes 30 s, which a machine at its limit can exceed
            if attempt == START_ATTEMPTS - 1:
                raise
            ray.shutdown()
            for child in psutil.Process().children(recursive=True):  # of the node that was too slow
                child.kill()
    serve.start(
        http_options={"host": "127.0.0.1", "port": http_port},
        grpc_options={"port": grpc_port, "grpc_servicer_functions": servicers},
    )
    serve.run_many(
        [serve.RunTarget(target=app, name=name, route_prefix=f"/{name}") for name, app in applications.items()]
    )


def wait_for_a_signal() -> None:
    """Returns on SIGTERM or SIGINT, in place of what Ray does then. Call it in the main thread.

    Handlers, and not a blocked mask with `sigwait`: children inherit the mask, and with SIGTERM blocked none of Ray's
    processes would end when asked to.
    """
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    told.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--runtime-dir", type=Path, required=True)
    arguments = parser.parse_args()

    from services.ray.applications import GRPC_SERVICER_FUNCTIONS, application
    from services.registry import SERVICES

    applications = {name: application(service) for name, service in SERVICES.items()}
    run(applications, GRPC_SERVICER_FUNCTIONS, arguments.grpc_port, arguments.http_port, arguments.runtime_dir)
    print(json.dumps({"ready": list(applications)}), flush=True)
    wait_for_a_signal()

    from ray import serve

    serve.shutdown()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
