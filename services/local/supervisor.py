"""The root process of a stack: it starts the other processes in order, watches them, and ends them all.

    python -m services.local.supervisor

Its options are one line of JSON on standard input: a Redis URL may hold a password, and arguments can be read by
everyone on the machine. It runs in a session of its own and ends the stack when its standard input closes (whoever
started it has ended, in whatever way) or on SIGTERM. It reports progress as JSON lines on standard output. It adopts
the orphans below it, so at its end no process of the stack is left; if it is killed itself, its children die with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.local import ports, processes, state, valkey
from services.local.hung import Watched
from services.local.node import NODE_PORTS
from services.local.node import environment as node_environment
from services.local.parent import report, request_stop, stop_requested
from services.registry import SERVICES

MAX_RESTARTS = 5  # of a child within RESTART_WINDOW, before the stack gives up
RESTART_WINDOW = 60.0  # seconds
EVERYWHERE = ("0.0.0.0", "::")


@dataclass
class Options:
    directory: str  # of the state and the logs
    checkpoint: str
    port: int  # of the gateway
    http_port: int
    embeddings_mb: int  # that the gateway keeps in Redis
    redis_url: str = ""  # empty: an embedded Valkey
    host: str = ports.HOST  # that the gateway listens on
    tls_certificate: str = ""  # PEM files; empty: no TLS
    tls_key: str = ""
    tls_authority: str = ""
    insecure: bool = False  # see the gateway's setting of this name
    start_timeout: float = 300.0  # seconds

    @property
    def reachable_host(self) -> str:
        """Under which this machine reaches the gateway."""
        return ports.HOST if self.host in EVERYWHERE else f"[{self.host}]" if ":" in self.host else self.host


class StackError(Exception):
    """The stack cannot go on; the message says why and where to look."""


class Supervisor:
    """A stack, from `start_all` to `stop`. The constructor only reserves ports and chooses names."""

    def __init__(self, options: Options):
        self.options = options
        self.directory = Path(options.directory)
        self.logs = self.directory / "logs"
        self.runtime = Path(f"/tmp/parley-{secrets.token_hex(4)}")  # short: sockets live in it
        self.created = time.monotonic()
        self.children: dict[str, subprocess.Popen] = {}
        self.restarts: dict[str, list[float]] = {}  # when each child was started again
        self.reservation, block = ports.reserve(exclude={options.port, options.http_port})
        fixed = 2 + NODE_PORTS + 2 * len(SERVICES)  # a service has two for metrics: a second replica takes the next
        grpc_port, serve_http_port, *rest = block[:fixed]
        self.state = self._initial_state(grpc_port, serve_http_port, rest[NODE_PORTS::2])
        self.environment = {
            **os.environ,
            **self._stack_environment(),
            **node_environment(self.runtime, rest[:NODE_PORTS], block[fixed:], secrets.token_hex(16)),
        }

    def _initial_state(self, grpc_port: int, serve_http_port: int, metrics_ports: list[int]) -> state.StackState:
        options = self.options
        return state.StackState(
            stack_id=secrets.token_hex(8),
            supervisor_pid=os.getpid(),
            supervisor_started=processes.started_at(os.getpid()),
            runtime_dir=str(self.runtime),
            gateway=f"{options.reachable_host}:{options.port}",
            http=f"{options.reachable_host}:{options.http_port}",
            tls_authority=options.tls_authority,
            services=f"{ports.HOST}:{grpc_port}",
            serve_http=f"{ports.HOST}:{serve_http_port}",
            redis_url=options.redis_url or f"unix://{self.runtime / 'valkey.sock'}",
            service_token=secrets.token_urlsafe(24),
            metrics={name: f"{ports.HOST}:{port}" for name, port in zip(SERVICES, metrics_ports, strict=True)},
            checkpoint=options.checkpoint,
        )

    def _stack_environment(self) -> dict[str, str]:
        """The environment of the gateway and the services: addresses, ports, the token, the checkpoint."""
        return {
            processes.MARKER: self.state.stack_id,
            "PARLEY_CHECKPOINT": self.options.checkpoint,
            "PARLEY_LOG_DIR": str(self.logs),
            "PARLEY_SERVICE_TOKEN": self.state.service_token,
            "PARLEY_GATEWAY_UPSTREAM_ADDRESSES": self.state.services,
            "PARLEY_GATEWAY_STORE_REDIS_URL": self.state.redis_url,
            "PARLEY_GATEWAY_SERVER_HOST": self.options.host,
            "PARLEY_GATEWAY_SERVER_TLS_CERTIFICATE": self.options.tls_certificate,
            "PARLEY_GATEWAY_SERVER_TLS_KEY": self.options.tls_key,
            "PARLEY_GATEWAY_SERVER_INSECURE": str(self.options.insecure),
            "PARLEY_GATEWAY_SERVER_PORT": str(self.options.port),
            "PARLEY_GATEWAY_SERVER_HTTP_PORT": str(self.options.http_port),
            "PARLEY_GATEWAY_SERVER_DRAIN_SECONDS": "3",
            "PARLEY_GATEWAY_STORE_EMBEDDINGS_MB": str(self.options.embeddings_mb),
            "PYTHONUNBUFFERED": "1",
            **{
                f"{SERVICES[name].environment_prefix}METRICS_PORT": _port(address)
                for name, address in self.state.metrics.items()
            },
        }

    # Starting.

    def make_folders(self) -> None:
        """An empty folder for the logs, the runtime folder, and the state file that names them."""
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True, mode=0o700)  # without keys, who knows a session opens it
        self.runtime.mkdir(mode=0o700)
        state.write(self.directory, self.state)

    def start_all(self) -> None:
        """Raises `StackError` if a process ends early or the stack is not ready in time."""
        self.make_folders()
        if not self.options.redis_url:
            report("starting Valkey")
            self.start_valkey()
        else:
            forget_release(self.options.redis_url)
        report("starting Ray Serve and the four services")
        self.start_services()
        self.start_gateway()
        self.wait_for("the services", self.services_are_ready)
        report("waiting for the gateway")
        self.wait_for("the gateway", self.gateway_is_ready)
        self.state.ready = True
        self.state.startup_seconds = round(time.monotonic() - self.created, 1)
        state.write(self.directory, self.state)

    def start_valkey(self) -> None:
        self.start_child("valkey", valkey.arguments(self.runtime, self.options.embeddings_mb))

    def start_services(self) -> None:
        self.start_child(
            "services",
            [
                *(sys.executable, "-m", "services.local.node"),
                *("--grpc-port", _port(self.state.services)),
                *("--http-port", _port(self.state.serve_http)),
                *("--runtime-dir", str(self.runtime)),
            ],
        )

    def start_gateway(self) -> None:
        self.start_child("gateway", [sys.executable, "-m", "services.gateway"])

    def start_child(self, name: str, arguments: list[str]) -> None:
        self.children[name] = processes.start(arguments, self.environment, self.log(name))

    def services_are_ready(self) -> bool:
        """Whether the node has printed so. Read from its log: a pipe would fill up and block it, since nobody reads."""
        return any(line.startswith(b'{"ready"') for line in self.log("services").read_bytes().splitlines())

    def gateway_is_ready(self) -> bool:
        try:
            state.fetch(f"{self.state.url}readyz", 2, self.state.tls_authority)
        except OSError:
            return False
        return True

    def wait_for(self, what: str, is_ready: Callable[[], bool]) -> None:
        until = self.created + self.options.start_timeout
        while not is_ready():
            self.check_children()
            if stop_requested(0.1):
                raise KeyboardInterrupt
            if time.monotonic() > until:
                raise StackError(f"{what} not ready in {self.options.start_timeout:g} s; see {self.logs}")

    # Running.

    def run(self) -> None:
        gateway = Watched(f"{self.state.url}healthz", self.state.tls_authority)
        while not stop_requested(0.5):
            self.check_children()
            if gateway.is_hung():
                report("the gateway runs and answers nothing; killing it")
                self.children["gateway"].kill()

    def check_children(self) -> None:
        """Starts what has ended again; raises `StackError` where that is of no use. Keeps what they print short."""
        processes.reap_adopted(self.children.values())
        for name, child in list(self.children.items()):
            processes.cut_output(self.log(name))
            if child.poll() is not None:
                self.restart(name)

    def restart(self, name: str) -> None:
        """Raises `StackError` for services that have never run, and for a child that has ended too often."""
        now = time.monotonic()
        recent = [*(when for when in self.restarts.get(name, []) if now - when < RESTART_WINDOW), now]
        self.restarts[name] = recent
        ended = f"{name} ended with status {self.children[name].returncode}"
        if (name == "services" and not self.state.ready) or len(recent) > MAX_RESTARTS:
            raise StackError(f"{ended}: {self.last_line(name)}")
        report(f"{ended}: {self.last_line(name)}; starting again")
        time.sleep(0.2)
        {"valkey": self.start_valkey, "services": self.start_services_again, "gateway": self.start_gateway}[name]()

    def start_services_again(self) -> None:
        """As `parley promote` has left them, once nothing is left of their processes, which this one has adopted."""
        del self.children["services"]
        processes.kill_all(lambda: processes.descendants_beside(os.getpid(), self.children.values()))
        self.environment["PARLEY_CHECKPOINT"] = state.read(self.directory).checkpoint
        self.start_services()

    def log(self, name: str) -> Path:
        """The file that holds a child's standard output and error."""
        return self.logs / f"{name}.log"

    def last_line(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'no output'} (all of it: {self.log(name)})"

    # Ending.

    def stop(self) -> None:
        """Ends the children in order, then all other descendants. Never raises for what has ended already."""
        for name, seconds in (("gateway", 6.0), ("services", 10.0), ("valkey", 3.0)):
            if name in self.children:
                processes.end(self.children[name], seconds)
        processes.kill_all(self.what_is_left)
        processes.reap_adopted(())
        self.reservation.close()
        self.keep_ray_logs()
        shutil.rmtree(self.runtime, ignore_errors=True)
        state.path(self.directory).unlink(missing_ok=True)

    def keep_ray_logs(self) -> None:
        """Where the stack has not become ready Ray's own logs say why; they would go with the runtime folder."""
        if not self.state.ready:
            with contextlib.suppress(OSError):  # of a Ray that has not come so far as to write any
                shutil.copytree(self.runtime / "ray" / "session_latest" / "logs", self.logs / "ray")

    def what_is_left(self) -> list[int]:
        """All living processes of the stack. One whose parent is just ending may be missing among the descendants."""
        return [*processes.descendants(os.getpid()), *processes.marked(self.state.stack_id)]


def forget_release(redis_url: str) -> None:
    """Removes the release pointer that an earlier stack has left. Raises `StackError` where Redis is out of reach."""
    from services.promotion.pointer import PointerStore, PromotionError

    try:
        PointerStore(redis_url).clear()
    except PromotionError as error:
        raise StackError(str(error)) from None


def _port(address: str) -> str:
    """Of host:port."""
    return address.rpartition(":")[2]


def main() -> None:
    options = Options(**json.loads(sys.stdin.readline()))
    os.umask(0o077)  # of all processes of the stack: what they write is for this user only
    processes.adopt_orphans()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, request_stop)
    supervisor = failure = None
    try:
        supervisor = Supervisor(options)
        supervisor.start_all()
        report("", "ready")
        supervisor.run()
    except KeyboardInterrupt:
        pass
    except StackError as error:
        failure = str(error)
    except Exception as error:  # whatever it is, the stack must end
        failure = f"{type(error).__name__}: {error}"
    if supervisor is not None:
        report("stopping")
        supervisor.stop()
    if failure:
        report(failure, "failed")
        sys.exit(1)


if __name__ == "__main__":
    main()
