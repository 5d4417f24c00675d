"""The real Triton server on this machine, from the package nvidia-pytriton in `.venv-triton` (`make triton`).

It has its own environment because its pins do not fit Parley's, and one backend, Python: give it a repository that was
written with `--runtime python`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = Path(__file__).parents[1] / ".venv-triton"
START_SECONDS = 120.0
STOP_SECONDS = 20.0


@dataclass
class TritonServer:
    """A running server. `url` is the address of its gRPC API."""

    process: subprocess.Popen
    url: str
    http: str
    log: Path

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ready(self) -> bool:
        """Whether all models are loaded."""
        try:
            with urllib.request.urlopen(f"{self.http}/v2/health/ready", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False


def installed() -> bool:
    return (ENVIRONMENT / ".installed").exists()


def start(
    repository: Path, log: Path, ports: tuple[int, int] | None = None, options: tuple[str, ...] = ()
) -> TritonServer:
    """Starts a server and waits until its models are loaded. Raises `RuntimeError` with the end of its log.

    Args:
        ports: of gRPC and HTTP, by default free ones.
        options: further ones of the command line.
    """
    grpc_port, http_port = ports or free_ports()
    server = TritonServer(
        _spawn(repository, log, grpc_port, http_port, options),
        f"127.0.0.1:{grpc_port}",
        f"http://127.0.0.1:{http_port}",
        log,
    )
    try:
        wait_until(lambda: server.ready() or server.process.poll() is not None, START_SECONDS)
        if not server.ready():
            raise RuntimeError(f"Triton did not start: {log.read_text()[-2000:]}")
    except BaseException:  # an interrupted wait must not leave it running
        server.stop()
        raise
    return server


def _spawn(repository: Path, log: Path, grpc_port: int, http_port: int, options: tuple[str, ...]) -> subprocess.Popen:
    packages = next((ENVIRONMENT / "lib").glob("python*/site-packages"))
    parts = packages / "pytriton" / "tritonserver"
    python = packages.parent.name.removeprefix("python")
    # The stub is a program of its own for each version of Python, and is looked for beside the models first.
    backends = _backends(parts, python)
    libraries = (packages / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR"))
    environment = os.environ | {
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(ENVIRONMENT),
        "PYTHONPATH": str(packages),
    }
    command = [
        str(parts / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--grpc-port={grpc_port}",
        f"--http-port={http_port}",
        "--grpc-address=127.0.0.1",
        "--http-address=127.0.0.1",
        "--allow-metrics=false",
        "--exit-timeout-secs=5",
        *options,
    ]
    with open(log, "ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment)


def _backends(parts: Path, python: str) -> Path:
    """A folder with the Python backend and the stub of this Python, made once."""
    folder = ENVIRONMENT / "backends"
    backend = folder / "python"
    if not backend.exists():
        draft = folder.with_name(f"backends-{os.getpid()}")
        (draft / "python").mkdir(parents=True)
        for file in (*(parts / "backends" / "python").iterdir(), *(parts / "python_backend_stubs" / python).iterdir()):
            (draft / "python" / file.name).symlink_to(file)
        draft.rename(folder)
    return folder


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return False
