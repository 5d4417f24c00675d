"""The echo servicers, under `grpc.aio` and under Ray Serve."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from services.local import ports, processes
from services.local.node import NODE_PORTS, environment
from services.rpc import health
from services.rpc.decorator import TOKEN_VARIABLE
from services.rpc.server import MESSAGE_LIMITS, add_to_server

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture(scope="module")
def ray_serve():
    """A real Ray Serve with both echo servicers: host:port of its HAProxy, and of the proxy that it falls back on."""
    import echo

    runtime = Path(tempfile.mkdtemp(prefix="parley-", dir="/tmp"))
    reservation, block = ports.reserve()
    grpc_port, http_port, *rest = block[: 2 + NODE_PORTS]
    stack_id = secrets.token_hex(8)
    variables = {
        **os.environ,
        **environment(runtime, rest, block[2 + NODE_PORTS :], secrets.token_hex(16)),
        processes.MARKER: stack_id,
        TOKEN_VARIABLE: echo.TOKEN,
        "PYTHONPATH": f"{HERE}:{HERE.parents[2]}",
    }
    node = processes.start(
        [sys.executable, str(HERE / "echo_node.py"), str(grpc_port), str(http_port), str(runtime)],
        variables,
        runtime / "node.log",
        stdout=subprocess.PIPE,
    )
    line = node.stdout.readline()
    while line and line.strip() != b"ready":
        line = node.stdout.readline()
    assert line, (runtime / "node.log").read_text()
    yield f"127.0.0.1:{grpc_port}", f"127.0.0.1:{rest[-1]}"
    children = {pid: processes.started_at(pid) for pid in processes.descendants(node.pid)}
    node.kill()
    node.wait()
    assert processes.kill_all(
        lambda: (
            [pid for pid, when in children.items() if when and processes.started_at(pid) == when]
            + processes.marked(stack_id)
        )
    )
    reservation.close()
    shutil.rmtree(runtime, ignore_errors=True)


@pytest_asyncio.fixture(params=["grpc.aio", "Ray Serve"])
async def channel(request, monkeypatch):
    """A channel to both echo servicers, which ask for `echo.TOKEN`."""
    if request.param == "Ray Serve":
        async with grpc.aio.insecure_channel(request.getfixturevalue("ray_serve")[0]) as channel:
            yield channel
        return
    import echo

    monkeypatch.setenv(TOKEN_VARIABLE, echo.TOKEN)
    server = grpc.aio.server(options=MESSAGE_LIMITS)
    add_to_server(echo.VISION, echo.EchoVision(None), server)
    add_to_server(echo.SPEECH, echo.EchoSpeech(None), server)
    health.add_to_server(server)
    health.process_health.ready = True
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)
