"""A real Triton server with the encoders of a checkpoint, for all tests of this folder.

They carry one xdist group, so that one server starts. It comes from `.venv-triton` (`make triton`).
"""

import contextlib
from pathlib import Path

import grpc
import pytest

from benchmarks import triton_server
from parley.checkpoints import Checkpoint
from parley.export.repository import write_speech, write_vision
from parley.export.signature import SpeechChunks
from services.registry import SERVICES, import_path
from services.rpc.server import start_server

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    missing = pytest.mark.skipif(not triton_server.installed(), reason="no Triton server here: `make triton`")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("triton"))
            item.add_marker(pytest.mark.timeout(900))  # an export takes 10 s of CPU time, longer where others run
            item.add_marker(missing)


def write_models(checkpoint: Path, folder: Path) -> Path:
    source = Checkpoint.open(checkpoint)
    write_vision(source, folder, "python")
    write_speech(source, folder, SpeechChunks.chosen(source.config.speech, None, None, 60.0), "python")
    return folder


@pytest.fixture(scope="session")
def repository(tiny_checkpoint, tmp_path_factory) -> Path:
    """The model repository of `tiny_checkpoint`."""
    return write_models(tiny_checkpoint, tmp_path_factory.mktemp("triton") / "models")


@pytest.fixture(scope="session")
def triton(repository):
    """The running server. A test that stops it starts one of its own."""
    server = triton_server.start(repository, repository.parent / "log")
    yield server
    server.stop()


@contextlib.asynccontextmanager
async def serving(name: str, checkpoint: Path, **settings):
    """A service of a plain gRPC server, as (service, channel)."""
    service_type = SERVICES[name].load_servicer()
    chosen = import_path(SERVICES[name].settings)(checkpoint=checkpoint, stop_seconds=0, **settings)
    service = service_type(chosen)
    try:
        await service.start()
        server, port = await start_server(SERVICES[name], service)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield service, channel
        await server.stop(None)
    finally:
        await service.stop()


@pytest.fixture
def run_service(tiny_checkpoint):
    """Runs a service over `tiny_checkpoint`; without a server's address with the local backend."""

    def run(name: str, url: str = "", **settings):
        where = {"backend": "triton", "triton_url": url} if url else {}
        return serving(name, settings.pop("checkpoint", tiny_checkpoint), **where, **settings)

    return run
