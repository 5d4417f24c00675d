"""Keeps what Ray Serve opens for itself on the loopback address: it has no setting for that, and listens everywhere.

These are the gRPC servers of replicas and proxies (`listen`, in each process of Ray), and HAProxy's two pages
(`haproxy_launcher`, in place of its binary).
"""

from __future__ import annotations

import shlex
from pathlib import Path

from services.local import ports

HAPROXY_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"  # Ray Serve starts this program as HAProxy

# Called as `haproxy -db -f CONFIG …`, with what Ray Serve has just written to CONFIG.
_LAUNCHER = r"""#!/bin/sh
sed -E -i 's/^( *bind) [*]?:([0-9]+)$/\1 {host}:\2/' "$3"
exec {binary} "$@"
"""


def listen() -> None:
    """From now on no gRPC server of this process takes the address of every interface."""
    from grpc.aio._server import Server  # the base of Ray Serve's own class

    add_port = Server.add_insecure_port

    def add_insecure_port(self: Server, address: str) -> int:
        return add_port(self, address.replace("[::]:", f"{ports.HOST}:"))

    Server.add_insecure_port = add_insecure_port


def haproxy_launcher(folder: Path, binary: str) -> Path:
    """Writes a program into `folder` that starts HAProxy (`binary`) with its own pages on the loopback address."""
    path = folder / "haproxy"
    path.write_text(_LAUNCHER.format(host=ports.HOST, binary=shlex.quote(binary)))
    path.chmod(0o700)
    return path
