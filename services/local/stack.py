"""A stack as a Python object: `with LocalStack(checkpoint) as stack: … stack.state.gateway …`.

The stack lives as long as the process that started it: its supervisor ends when the pipe between them closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from services.local import ports, state
from services.local.supervisor import Options, StackError

if TYPE_CHECKING:
    from services.local.certificate import Certificate

GATEWAY_PORT = 50051
HTTP_PORT = 8080
MANIFEST = "manifest.json"


def _ignore(text: str) -> None:
    pass


class LocalStack:
    """`port`, `http_port`: of the gateway; 0: any free one. `redis_url`: of a Redis; empty: an embedded Valkey.

    `host`: that the gateway listens on. Where other machines reach it, it needs a `certificate`, unless `insecure`.
    `start` raises `ValueError` for a port that is taken, a folder that is no checkpoint, a stack that already runs in
    `directory` or a gateway that would be open to others, and `StackError` if the stack does not come up.
    """

    def __init__(
        self,
        checkpoint: Path,
        directory: Path = state.DIRECTORY,
        port: int = GATEWAY_PORT,
        http_port: int = HTTP_PORT,
        redis_url: str = "",
        host: str = ports.HOST,
        certificate: Certificate | None = None,
        insecure: bool = False,
    ):
        self.checkpoint, self.directory = Path(checkpoint), Path(directory)
        self.port, self.http_port, self.redis_url = port, http_port, redis_url
        self.host, self.certificate, self.insecure = host, certificate, insecure
        self.supervisor: subprocess.Popen | None = None
        self.state: state.StackState | None = None

    def start(self, on_progress: Callable[[str], None] = _ignore) -> state.StackState:
        self._check_checkpoint()
        self._prepare_directory()
        options = self._options()
        self.supervisor = subprocess.Popen(
            [sys.executable, "-m", "services.local.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the foreground process, which then stops the supervisor
        )
        try:
            self.supervisor.stdin.write(json.dumps(asdict(options)).encode() + b"\n")
            self.supervisor.stdin.flush()  # it stays open: the supervisor ends when it closes
            self._wait_until_ready(on_progress)
        except BaseException:
            self.stop()
            raise
        return self.state

    def _check_checkpoint(self) -> None:
        if not (self.checkpoint / MANIFEST).is_file():
            raise ValueError(
                f"{self.checkpoint} is no checkpoint: it holds no {MANIFEST}; name another with --checkpoint or "
                "make one with `parley train nano`"
            )

    def _prepare_directory(self) -> None:
        """Refuses to start beside a stack that runs, and removes what a killed one has left. The folder is private."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        running = state.read(self.directory)
        if running is None:
            return
        if running.alive:
            raise ValueError(f"a stack already runs here (gateway at {running.gateway}); stop it with `parley down`")
        state.cleanup(self.directory, running)

    def _options(self) -> Options:
        port = ports.choose(self.port, "--port", exclude=[self.http_port])
        files = self._tls_files()
        _check_exposure(self.host, files, self.insecure)
        return Options(
            directory=str(self.directory.resolve()),
            checkpoint=str(self.checkpoint.resolve()),
            port=port,
            http_port=ports.choose(self.http_port, "--http-port", exclude=[port]),
            redis_url=self.redis_url,
            embeddings_mb=_embeddings_mb(),
            host=self.host,
            insecure=self.insecure,
            **files,
        )

    def _tls_files(self) -> dict[str, str]:
        if self.certificate is None:
            return {}
        files = {
            "certificate": self.certificate.chain,
            "key": self.certificate.key,
            "authority": self.certificate.authority,
        }
        return {f"tls_{name}": str(path) for name, path in files.items()}

    def _wait_until_ready(self, on_progress: Callable[[str], None]) -> None:
        for line in self.supervisor.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                self.state = state.read(self.directory)
                return
            if event["event"] == "failed":
                raise StackError(event["text"])
            on_progress(event["text"])
        raise StackError("the supervisor of the stack ended before the stack was ready")

    def wait(self, on_progress: Callable[[str], None] = _ignore) -> None:
        """Returns when the stack has been stopped by another process. Raises `StackError` if it failed."""
        failure = ""
        for line in self.supervisor.stdout:
            event = json.loads(line)
            if event["event"] == "failed":
                failure = event["text"]
            else:
                on_progress(event["text"])
        if self.supervisor.wait() != 0:
            raise StackError(failure or "the supervisor of the stack was killed")

    def stop(self, seconds: float = 30.0) -> None:
        """Ends everything and returns when nothing is left. Does nothing if nothing runs."""
        if self.supervisor is None:
            return
        if self.supervisor.poll() is None:
            self.supervisor.stdin.close()  # tells it to stop, unless a process that this one has forked holds it open
            self.supervisor.terminate()
            try:
                self.supervisor.wait(seconds)
            except subprocess.TimeoutExpired:
                self.supervisor.kill()
                self.supervisor.wait()
        left = state.read(self.directory)
        if left is not None and not left.alive:
            state.cleanup(self.directory, left)
        self.supervisor.stdout.close()
        self.supervisor = None

    def __enter__(self) -> LocalStack:
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()


def _check_exposure(host: str, files: dict[str, str], insecure: bool) -> None:
    """What the gateway would say only once everything else runs."""
    from services.gateway.access import exposure
    from services.gateway.settings import GatewaySettings

    tls = {name: files.get(name, "") for name in ("tls_certificate", "tls_key")}
    settings = GatewaySettings()
    exposure.check(settings.server.model_copy(update={"host": host, "insecure": insecure, **tls}), settings.access)


def _embeddings_mb() -> int:
    """The gateway's own setting: the embedded Valkey must hold as much."""
    from services.gateway.settings import GatewaySettings

    return GatewaySettings().store.embeddings_mb


@contextlib.contextmanager
def foreground(stack: LocalStack) -> Iterator[None]:
    """For a command whose stack ends with it. SIGTERM and a closed terminal raise `KeyboardInterrupt`, as Ctrl-C does;
    at the end the stack is stopped, which takes seconds and is not interrupted by any of the three."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        stack.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_running(directory: Path, seconds: float = 30.0) -> bool:
    """Stops the stack that runs in `directory`, no matter who started it. False if there is none."""
    running = state.read(directory)
    if running is None:
        return False
    if running.alive:
        os.kill(running.supervisor_pid, signal.SIGTERM)
        if not _wait_for_end(running, seconds):
            os.kill(running.supervisor_pid, signal.SIGKILL)
            _wait_for_end(running, seconds)
    if state.read(directory) is not None:
        state.cleanup(directory, running)
    return True


def _wait_for_end(running: state.StackState, seconds: float) -> bool:
    """Whether the supervisor ended in time."""
    until = time.monotonic() + seconds
    while running.alive and time.monotonic() < until:
        time.sleep(0.05)
    return not running.alive
