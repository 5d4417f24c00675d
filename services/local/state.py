"""What is known of a running stack: `.parley/state.json` in the working folder, which exists as long as the stack."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path

from services.local import processes

DIRECTORY = Path(".parley")


@dataclass
class StackState:
    stack_id: str
    supervisor_pid: int
    supervisor_started: float  # seconds since boot
    runtime_dir: str  # sockets and Ray's files; removed with the stack
    ready: bool = False
    gateway: str = ""  # host:port of Conversation
    http: str = ""  # host:port of the page, the OpenAI API, and /healthz, /readyz, /metrics
    tls_authority: str = ""  # PEM file that clients of both have to trust; empty: they speak no TLS
    services: str = ""  # host:port of the gRPC proxy of the four services
    serve_http: str = ""  # host:port of Ray Serve's /-/healthz
    redis_url: str = ""
    service_token: str = ""  # the bearer token of calls to the services
    metrics: dict[str, str] = field(default_factory=dict)  # service → host:port of its /metrics
    checkpoint: str = ""
    startup_seconds: float = 0.0

    @property
    def url(self) -> str:
        """Of the page."""
        return f"{'https' if self.tls_authority else 'http'}://{self.http}/"

    @property
    def alive(self) -> bool:
        """Whether the supervisor runs."""
        return processes.started_at(self.supervisor_pid) == self.supervisor_started


def fetch(url: str, seconds: float, authority: str = "") -> bytes:
    """`authority`: PEM file to trust. Raises `OSError`; its `HTTPError` tells the status and the answer."""
    context = ssl.create_default_context(cafile=authority) if authority else None
    with urllib.request.urlopen(url, timeout=seconds, context=context) as answer:
        return answer.read()


def path(directory: Path) -> Path:
    return directory / "state.json"


def read(directory: Path = DIRECTORY) -> StackState | None:
    """The stack of this folder, alive or not; None if there is none. Raises `ValueError` for a file of another kind."""
    try:
        return StackState(**json.loads(path(directory).read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise ValueError(
            f"{path(directory)} is damaged or of another version of Parley; if no stack runs here, delete it"
        ) from None


def write(directory: Path, state: StackState) -> None:
    temporary = path(directory).with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # it holds the token
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(state), file, indent=1)
    temporary.replace(path(directory))


def cleanup(directory: Path, state: StackState) -> bool:
    """Kills and removes what is left of a stack whose supervisor has ended. True if nothing is left of it."""
    ended = processes.kill_all(lambda: processes.marked(state.stack_id))
    shutil.rmtree(state.runtime_dir, ignore_errors=True)
    path(directory).unlink(missing_ok=True)
    return ended
