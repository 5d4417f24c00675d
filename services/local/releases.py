"""Releases of the local stack: what `services.local.node` is told over a socket, since its Ray has no dashboard.

One JSON object each way and connection: {"command": "deploy", "slot": "b", "checkpoint": "…"} → {"releases": [...]} or
{"error": "…"}. Only the user who runs the stack can open the socket.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from services.ray.serve_config import SLOTS, Release

SOCKET = "releases.sock"  # in the stack's runtime folder
MAX_REQUEST = 64 << 10  # bytes
DEPLOY_SECONDS = 600.0


class DeploymentError(Exception):
    """The node refuses, or cannot be reached; the message is for the user."""


class Node(Protocol):
    """What runs the applications of releases, in this process."""

    def releases(self) -> list[Release]: ...

    def deploy(self, release: Release) -> None:
        """Returns when they run. Raises `RuntimeError` whose last line says why they do not."""
        ...

    def remove(self, slot: str) -> None: ...


def serve(node: Node, runtime_dir: Path) -> socketserver.BaseServer:
    """Answers requests in a thread of its own, one after the other."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            answer = _answer(node, self.rfile.readline(MAX_REQUEST))
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    (runtime_dir / SOCKET).unlink(missing_ok=True)  # of a node that was killed
    server = socketserver.UnixStreamServer(str(runtime_dir / SOCKET), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _answer(node: Node, line: bytes) -> dict:
    commands: dict[str, Callable[[dict], None]] = {
        "list": lambda request: None,
        "deploy": lambda request: node.deploy(Release(request["slot"], request["checkpoint"])),
        "remove": lambda request: node.remove(Release(request["slot"]).slot),
    }
    try:
        request = json.loads(line)
        commands[request["command"]](request)
        return {"releases": [asdict(release) for release in node.releases()]}
    except (KeyError, TypeError, ValueError) as error:
        return {"error": f"not a request of this stack: {error}"}
    except Exception as error:  # whatever Ray raises is for the user
        return {"error": (str(error).strip() or type(error).__name__).splitlines()[-1]}


class LocalDeployments:
    """Implements `services.promotion.deployments.Deployments`. `runtime_dir`: of the stack's state."""

    def __init__(self, runtime_dir: Path):
        self._path = runtime_dir / SOCKET

    def releases(self) -> list[Release]:
        return self._ask(command="list")

    def deploy(self, release: Release, like: Release, say: Callable[[str], None]) -> None:
        self._ask(command="deploy", slot=release.slot, checkpoint=release.checkpoint)

    def remove(self, slot: str) -> None:
        assert slot in SLOTS
        self._ask(command="remove", slot=slot)

    def _ask(self, **request: str) -> list[Release]:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(DEPLOY_SECONDS)
                connection.connect(str(self._path))
                connection.sendall(json.dumps(request).encode() + b"\n")
                line = connection.makefile("rb").readline()
        except OSError as error:
            raise DeploymentError(f"the services of this stack cannot be reached: {error}") from None
        answer = json.loads(line or b'{"error": "the services of this stack ended"}')
        if "error" in answer:
            raise DeploymentError(answer["error"])
        return [Release(**release) for release in answer["releases"]]
