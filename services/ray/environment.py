"""The environment that every Ray node of ours needs before Ray is imported: what is no port, no path and no secret.

Where a node runs adds the rest: `services.local.node` for one machine, a compose file or a chart for containers.
"""

from __future__ import annotations

from services import GRPC_ENVIRONMENT
from services.ray.haproxy import HAPROXY_MODE
from services.rpc.sizes import MAX_MESSAGE_BYTES

NODE_ENVIRONMENT = {
    **HAPROXY_MODE,
    **GRPC_ENVIRONMENT,  # Serve imports gRPC before anything of ours
    "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(MAX_MESSAGE_BYTES),  # of proxies and replicas; Serve's own is 2 GiB
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # it logs a line for each request; services count for themselves
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",  # a proxy that hangs is replaced after three of these
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",  # one that hangs would be waited for until its streams end
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",  # at Serve's 0.1 the controller takes 5 % of a core
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",  # Ray's own metrics, by default exported ten times a second
    "RAY_health_check_period_ms": "1000",  # five failed checks, and a node is dead: after 5 s, not 15
    "RAY_AUTH_MODE": "token",  # RAY_AUTH_TOKEN is the same on all nodes of a cluster
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # replicas see the accelerator without asking Ray for a share
    "RAY_worker_niceness": "0",  # at Ray's 15, services would wait for all other processes of the machine
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

# What a node in a container needs besides.
CONTAINER_ENVIRONMENT = {
    **NODE_ENVIRONMENT,
    "RAY_LOG_TO_STDERR": "1",  # files in a container are lost with it
    "RAY_SERVE_LOG_TO_STDERR": "1",  # throughput mode turns it off
    "RAY_BACKEND_LOG_LEVEL": "warning",  # at `info` each process writes its statistics every minute
    "RAY_AUTH_TOKEN_PATH": "/secrets/ray_token",  # written by `services.ray.tokens`
}


def env_file() -> str:
    """`CONTAINER_ENVIRONMENT` as Docker reads it: deploy/compose/ray.env is this."""
    head = "# Written by `make deploy-files` from services/ray/environment.py; do not edit.\n"
    return head + "".join(f"{name}={value}\n" for name, value in CONTAINER_ENVIRONMENT.items())
