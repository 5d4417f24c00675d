"""A stack as a Python object: `with LocalStack() as stack: … stack.state.gateway …`.

The stack lives as long as the process that started it: a keeper holds the other end of a pipe.
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

from services.local import ports, state
from services.local.supervisor import Options, StackError

GATEWAY_PORT = 50051
HTTP_PORT = 8080
MANIFEST = "manifest.json"


class LocalStack:
    """`port`, `http_port`: of the gateway; 0: any free one. `redis_url`: of a Redis; empty: an embedded Valkey.

    `start` raises `ValueError` for a port that is taken, a folder that is no checkpoint or a stack that already runs in
    `directory`, and `StackError` if the stack does not come up.
    """

    def __init__(
        self,
        checkpoint: Path,
        directory: Path = state.DIRECTORY,
        port: int = GATEWAY_PORT,
        http_port: int = HTTP_PORT,
        redis_url: str = "",
    ):
        self.checkpoint, self.directory = Path(checkpoint), Path(directory)
        self.port, self.http_port, self.redis_url = port, http_port, redis_url
        self.keeper: subprocess.Popen | None = None
        self.state: state.StackState | None = None

    def start(self, on_progress: Callable[[str], None] = lambda text: None) -> state.StackState:
        if not (self.checkpoint / MANIFEST).is_file():
            raise ValueError(
                f"{self.checkpoint} is no checkpoint: it holds no {MANIFEST}; name another with --checkpoint or "
                "make one with `parley train nano`"
            )
        self.directory.mkdir(parents=True, exist_ok=True)
        running = state.read(self.directory)
        if running is not None and running.alive:
            raise ValueError(f"a stack already runs here (gateway at {running.gateway}); stop it with `parley down`")
        if running is not None:
            state.sweep(self.directory, running)
        port = ports.choose(self.port, "--port", besides=[self.http_port])
        options = Options(
            directory=str(self.directory.resolve()),
            checkpoint=str(self.checkpoint.resolve()),
            port=port,
            http_port=ports.choose(self.http_port, "--http-port", besides=[port]),
            redis_url=self.redis_url,
        )
        self.keeper = subprocess.Popen(
            [sys.executable, "-m", "services.local.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the front, which asks the keeper
        )
        try:
            self.keeper.stdin.write(json.dumps(asdict(options)).encode() + b"\n")
            self.keeper.stdin.flush()  # and it stays open: its end is the keeper's
            self._wait(on_progress)
        except BaseException:
            self.stop()
            raise
        return self.state

    def _wait(self, on_progress: Callable[[str], None]) -> None:
        for line in self.keeper.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                self.state = state.read(self.directory)
                return
            if event["event"] == "failed":
                raise StackError(event["text"])
            on_progress(event["text"])
        raise StackError("the keeper of the stack ended")

    def wait(self, on_progress: Callable[[str], None] = lambda text: None) -> None:
        """Returns when the stack has been stopped from elsewhere. Raises `StackError` if it failed."""
        failure = ""
        for line in self.keeper.stdout:
            event = json.loads(line)
            if event["event"] == "failed":
                failure = event["text"]
            else:
                on_progress(event["text"])
        if self.keeper.wait() != 0:
            raise StackError(failure or "the keeper of the stack was killed")

    def stop(self, seconds: float = 30.0) -> None:
        """Ends everything and returns when nothing is left. Does nothing if nothing runs."""
        if self.keeper is None:
            return
        if self.keeper.poll() is None:
            self.keeper.stdin.close()  # this is the sign
            try:
                self.keeper.wait(seconds)
            except subprocess.TimeoutExpired:
                self.keeper.kill()
                self.keeper.wait()
        left = state.read(self.directory)
        if left is not None and not left.alive:
            state.sweep(self.directory, left)
        self.keeper.stdout.close()
        self.keeper = None

    def __enter__(self) -> LocalStack:
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()


@contextlib.contextmanager
def foreground(stack: LocalStack) -> Iterator[None]:
    """For a command whose stack ends with it. SIGTERM and a closed terminal are as Ctrl-C, a `KeyboardInterrupt`; at
    the end the stack is stopped, which takes seconds and is not cut short by any of the three."""
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
    """Stops the stack that runs in `directory`, whoever started it. False if there is none."""
    running = state.read(directory)
    if running is None:
        return False
    if running.alive:
        os.kill(running.keeper_pid, signal.SIGTERM)
        until = time.monotonic() + seconds
        while running.alive and time.monotonic() < until:
            time.sleep(0.1)
        if running.alive:
            os.kill(running.keeper_pid, signal.SIGKILL)
            while running.alive:
                time.sleep(0.05)
    if state.read(directory) is not None:
        state.sweep(directory, running)
    return True
