"""The replicas of this node, for the probes of its pod: `python -m services.ray.node_replicas ready | drain SECONDS`.

ready   ends with 0 where a replica of this node answers. Serve's own `/-/healthz` tells of the node's proxy only, which
        runs long before a model has been loaded.
drain   asks Ray to move the replicas to other nodes and returns when the last of them has gone, at the latest after
        SECONDS. Before a pod stops: without it SIGTERM ends the node and all streams at once.

In HAProxy mode each replica listens on ports of its own, of which Serve gives out the lowest that is free. Only the
standard library is imported: a probe starts this every few seconds.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time

HOST = "127.0.0.1"
HTTP_PORT = int(os.environ.get("RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT", "30000"))
GRPC_PORT = int(os.environ.get("RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT", "40000"))
PORTS = 50  # that are looked at, from the lowest
TIMEOUT = 2.0  # seconds, of a replica's answer
POLL_SECONDS = 1.0
DRAIN_REASON = "DRAIN_NODE_REASON_PREEMPTION"  # the other reason is refused while a replica runs


def listening(first: int) -> list[int]:
    """Ports from `first` on that somebody of this node listens on."""
    return [port for port in range(first, first + PORTS) if _accepts(port)]


def _accepts(port: int) -> bool:
    with socket.socket() as connection:
        connection.settimeout(TIMEOUT)
        return connection.connect_ex((HOST, port)) == 0


def healthy(port: int) -> bool:
    """Whether the replica whose HTTP port this is says that it serves; one that stops says that it does not."""
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/-/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def ready() -> bool:
    return any(healthy(port) for port in listening(HTTP_PORT))


def drain(seconds: float) -> None:
    """A node that Ray no longer knows has no replicas either."""
    until = time.monotonic() + seconds
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(drain_command(int(seconds)), timeout=seconds, check=False)
    while listening(GRPC_PORT) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)


def drain_command(seconds: int) -> list[str]:
    deadline = ["--deadline-remaining-seconds", str(seconds)]
    return ["ray", "drain-node", "--reason", DRAIN_REASON, "--reason-message", "its pod stops", *deadline]


def main(arguments: list[str]) -> None:
    match arguments:
        case ["ready"]:
            sys.exit(0 if ready() else "no replica of this node answers")
        case ["drain", seconds]:
            drain(float(seconds))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
