"""A Triton server that is away, hangs, fails, is slow or serves other weights."""

import asyncio
import os
import shutil
import signal
import time

import grpc
import psutil
import pytest
import torch

from benchmarks import triton_server
from parley.checkpoints import Checkpoint
from services.rpc.errors import ServiceError
from services.rpc.streams import deadline_in, within

# Appended to the model's code: tiles of 100 take long, tiles of 1000 break it.
BREAKABLE = """

class BreakableModel(TritonPythonModel):
    def execute(self, requests):
        largest = max(values(request, self.inputs[0]).max() for request in requests)
        if largest >= 1000:
            raise RuntimeError("out of memory")
        if largest >= 100:
            time.sleep(10)
        return super().execute(requests)

TritonPythonModel = BreakableModel
"""
SLOW, BREAKING = 100.0, 1000.0


@pytest.fixture
def own_server(repository, tmp_path):
    """Starts servers that a test may break, with the vision encoder alone: `start(ports)`."""
    models = tmp_path / "models"
    model = next(repository.glob("vision_encoder-*"))
    shutil.copytree(model, models / model.name)
    code = models / model.name / "1" / "model.py"
    code.write_text(code.read_text() + BREAKABLE)
    running = []

    def start(ports=None):
        running.append(triton_server.start(models, tmp_path / "log", ports))
        return running[-1]

    yield start
    for server in running:
        if server.process.poll() is None:
            os.kill(server.process.pid, signal.SIGCONT)
            server.stop()


def tiles(value: float = 0.0, count: int = 1) -> torch.Tensor:
    return torch.full((count, 3, 32, 32), value)


async def until(holds) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.05)


async def refused(service, pixels: torch.Tensor) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await service.engine.encode(pixels)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE and caught.value.retry_after > 0
    return caught.value


async def test_a_server_that_dies_is_unavailable_and_found_again(run_service, own_server):
    server = own_server()
    async with run_service("vision_encoder", server.url) as (service, _):
        held = asyncio.create_task(service.engine.encode(tiles(SLOW)))
        await until(lambda: service.engine.backend._model._in_flight)
        server.process.kill()
        server.process.wait()
        with pytest.raises(ServiceError) as caught:
            await held
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE
        await refused(service, tiles())
        await until(lambda: not service.alive)
        await refused(service, tiles())
        own_server((int(server.url.rpartition(":")[2]), int(server.http.rpartition(":")[2])))
        await until(lambda: service.alive)
        assert (await service.engine.encode(tiles()))[0].shape[0] == 1


async def test_a_server_that_hangs_is_given_up(run_service, own_server):
    server = own_server()
    async with run_service("vision_encoder", server.url, triton_timeout_seconds=60) as (service, _):
        os.kill(server.process.pid, signal.SIGSTOP)
        await until(lambda: psutil.Process(server.process.pid).status() == psutil.STATUS_STOPPED)  # answers till then
        held = asyncio.create_task(refused(service, tiles()))  # ends with the watch, long before its own time limit
        await until(lambda: not service.alive)
        await held
        os.kill(server.process.pid, signal.SIGCONT)
        await until(lambda: service.alive)
        assert (await service.engine.encode(tiles()))[0].shape[0] == 1


async def test_a_failing_model_is_an_internal_error_of_its_request(run_service, own_server):
    server = own_server()
    async with run_service("vision_encoder", server.url) as (service, _):
        with pytest.raises(RuntimeError, match="the engine's step failed") as caught:
            await service.engine.encode(tiles(BREAKING))
        assert not isinstance(caught.value, ServiceError)  # so the caller gets INTERNAL
        assert (await service.engine.encode(tiles()))[0].shape[0] == 1
        assert service.alive


async def test_a_slow_model_meets_time_limits(run_service, own_server):
    server = own_server()
    async with run_service("vision_encoder", server.url, triton_timeout_seconds=3, max_batch=1) as (service, _):
        with pytest.raises(TimeoutError):
            async with within(deadline_in(0.2)):
                await service.engine.encode(tiles(SLOW))
        await refused(service, tiles(SLOW))  # the caller's deadline is later than the call's time limit
        await until(lambda: service.alive)


@pytest.fixture
def other_weights(tiny_checkpoint, tmp_path):
    """The same model as a checkpoint of another fingerprint."""
    folder = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, folder)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"stage":"random"', '"stage":"another"').replace(
        '"stage": "random"', '"stage": "another"'))  # fmt: skip
    assert Checkpoint.open(folder).fingerprint != Checkpoint.open(tiny_checkpoint).fingerprint
    return folder


async def test_other_weights_are_refused(run_service, triton, other_weights):
    wanted = f"does not serve vision_encoder-{Checkpoint.open(other_weights).fingerprint}, the model of this checkpoint"
    with pytest.raises(ValueError, match=wanted):
        async with run_service("vision_encoder", triton.url, triton_start_seconds=1, checkpoint=other_weights):
            pass


async def test_a_model_that_was_renamed_is_refused(run_service, repository, tmp_path, other_weights):
    model = next(repository.glob("vision_encoder-*"))
    name = f"vision_encoder-{Checkpoint.open(other_weights).fingerprint}"
    shutil.copytree(model, tmp_path / "models" / name)
    config = tmp_path / "models" / name / "config.pbtxt"
    config.write_text(config.read_text().replace(f'name: "{model.name}"', f'name: "{name}"'))
    server = triton_server.start(tmp_path / "models", tmp_path / "log")
    try:
        with pytest.raises(ValueError, match=r"has weights [0-9a-f]{16}, but this service needs"):
            async with run_service("vision_encoder", server.url, checkpoint=other_weights):
                pass
    finally:
        server.stop()


async def test_no_server(run_service):
    started = time.monotonic()
    with pytest.raises(ValueError, match="no Triton server at"):
        async with run_service("vision_encoder", "127.0.0.1:9", triton_start_seconds=1):
            pass
    assert time.monotonic() - started < 60
