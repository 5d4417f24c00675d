"""The stack of docker-compose.yml as a Python object, in a project of its own with free ports and its own volumes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = "parley-test"
IMAGES = ("gateway", "services", "client")  # with names of their own: those of a running stack stay as they are
BUILD_SECONDS = 1200.0
START_SECONDS = 420.0


class ComposeError(Exception):
    """A container or the engine failed; the message says which and why."""


class ComposeStack:
    """`killed`: the container that `kill` ended last. All methods raise `ComposeError`."""

    def __init__(self, project: str = PROJECT):
        self.project = project
        self.killed = ""

    def run(self, *arguments: str, timeout: float = 120.0, **environment: str) -> str:
        """`docker compose` with these arguments; returns its standard output."""
        command = ["docker", "compose", "--project-name", self.project, *arguments]
        images = {f"PARLEY_{name.upper()}_IMAGE": f"{self.project}-{name}" for name in IMAGES}
        return run(command, timeout, {"PARLEY_PORT": "0", "PARLEY_HTTP_PORT": "0", **images, **environment})

    def build(self) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        self.run("--profile", "*", "build", "--quiet", "gateway", "llm-core", "ask", timeout=BUILD_SECONDS)
        return round(time.monotonic() - began, 1)

    def up(self, replicas: Mapping[str, int] | None = None) -> float:
        """Starts, or changes, the stack and returns the seconds until all is healthy. `replicas`: by container."""
        replicas = dict(replicas or {})
        scale = [f"--scale={name}={count}" for name, count in replicas.items()]
        settings = {_replicas_variable(name): str(count) for name, count in replicas.items()}
        began = time.monotonic()
        try:
            self.run("up", "--wait", "--quiet-pull", *scale, timeout=START_SECONDS, **settings)
        except ComposeError as error:
            raise ComposeError("\n".join([str(error), *map(self.last_lines, self.waiting())])) from None
        return round(time.monotonic() - began, 1)

    def ask(self) -> str:
        """Asks the bundled spoken question; returns what was printed."""
        return self.run("run", "--rm", "--no-TTY", "ask", timeout=180.0)

    def gateway(self) -> str:
        """host:port of the gateway's gRPC server."""
        return self.run("port", "gateway", "50051").strip()

    def kill(self, service: str) -> None:
        """Kills the first container of a service, as a crash would: nothing is told to end."""
        self.killed = self.run("ps", "--quiet", service).split()[0]
        run(["docker", "kill", "--signal=KILL", self.killed])

    def start_killed(self) -> None:
        run(["docker", "start", self.killed])

    def states(self) -> dict[str, str]:
        """Container → healthy, starting, unhealthy; running or exited where it has no health check; done: with 0."""
        lines = self.run("ps", "--all", "--format", "json").splitlines()
        found = [json.loads(line) for line in lines if line]
        return {one["Name"]: _state(one) for one in found}

    def waiting(self) -> list[str]:
        """The containers that are not healthy, or failed."""
        return [name for name, state in self.states().items() if state not in ("healthy", "running", "done")]

    def last_lines(self, container: str) -> str:
        done = subprocess.run(["docker", "logs", "--tail=5", container], capture_output=True, text=True)
        return f"{container}: {self.states().get(container)}\n{done.stdout}{done.stderr}"

    def wait_until_healthy(self, seconds: float) -> float:
        """The monotonic time at which every container was seen to be healthy; infinite where some were not in time."""
        until = time.monotonic() + seconds
        while self.waiting():
            if time.monotonic() > until:
                return float("inf")
            time.sleep(0.5)
        return time.monotonic()

    def down(self) -> None:
        self.run("--profile", "*", "down", "--volumes", "--timeout=20")


def _state(container: Mapping) -> str:
    if container["State"] == "exited":
        return "exited" if container["ExitCode"] else "done"
    return container["Health"] or container["State"]


def _replicas_variable(service: str) -> str:
    """The setting of `services.engine.settings` for one service of the compose file."""
    return f"PARLEY_{service.replace('-', '_').upper()}_NUM_REPLICAS"


def run(command: list[str], timeout: float = 60.0, environment: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True,
            timeout=timeout,
        )  # fmt: skip
    except FileNotFoundError:
        raise ComposeError("there is no `docker` here; install Docker with its compose plugin") from None
    except subprocess.TimeoutExpired:
        raise ComposeError(f"{' '.join(command)}: not done after {timeout:g} s") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ComposeError(f"{' '.join(command)}: " + "\n".join(lines[-8:]))
    return done.stdout
