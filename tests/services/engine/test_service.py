"""What every service around an engine does: opens the checkpoint once, says what it runs, is alive until it stops."""

import grpc
import pytest
from prometheus_client import REGISTRY

from parley.checkpoints import Checkpoint, CheckpointError
from protos.parley.v1.model_info_pb2 import DescribeRequest, ModelInfo
from services.engine.load import Load
from services.registry import SERVICES
from services.rpc.server import start_server

OPTIONS = {"device": "cpu", "stop_seconds": 0}


def build(name: str, checkpoint):
    service = SERVICES[name]
    settings = service.load_settings().model_copy(update={"checkpoint": checkpoint, **OPTIONS})
    return service.load_servicer()(settings)


@pytest.mark.parametrize("name", SERVICES)
async def test_a_start_opens_the_checkpoint_once(name, tiny_checkpoint, monkeypatch):
    opened, original = [], Checkpoint.open

    def counted(path):
        opened.append(path)
        return original(path)

    monkeypatch.setattr(Checkpoint, "open", counted)
    servicer = build(name, tiny_checkpoint)
    await servicer.start()
    assert opened == [tiny_checkpoint]
    assert servicer.alive
    await servicer.stop()
    assert not servicer.alive


@pytest.mark.parametrize("name", SERVICES)
async def test_metrics_say_what_runs_and_how_many_slots_it_has(name, tiny_checkpoint):
    servicer = build(name, tiny_checkpoint)
    await servicer.start()
    labels = {
        "service": name,
        "model": "tiny",
        "weights": servicer.checkpoint.fingerprint,
        "checkpoint": str(tiny_checkpoint),
        "device": "cpu",
        "dtype": "float32",
    }
    assert REGISTRY.get_sample_value("parley_service_info", labels) == 1
    assert REGISTRY.get_sample_value("parley_engine_slots", {"service": name}) >= 2
    await servicer.stop()


@pytest.mark.parametrize("name", SERVICES)
async def test_an_idle_service_reports_free_slots(name, tiny_checkpoint):
    servicer = build(name, tiny_checkpoint)
    await servicer.start()
    load = Load.of(servicer.load_stats())
    assert load.slots >= 2 and (load.used, load.queued) == (0, 0)
    await servicer.stop()


@pytest.mark.parametrize("name", SERVICES)
async def test_describe_tells_the_load_of_the_last_seconds(name, tiny_checkpoint):
    servicer = build(name, tiny_checkpoint)
    await servicer.start()
    servicer.engine.factors.observe(5.0)  # more than a step of this machine takes
    servicer.engine.waits.observe(2.0)
    load = servicer.describe().load
    assert (load.real_time_factor, load.queue_seconds) == (5.0, 2.0)
    await servicer.stop()


@pytest.mark.parametrize("name", SERVICES)
async def test_describe_over_grpc(name, tiny_checkpoint):
    servicer = build(name, tiny_checkpoint)
    await servicer.start()
    server, port = await start_server(SERVICES[name], servicer)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        info: ModelInfo = await SERVICES[name].stub(channel).Describe(DescribeRequest())
    await server.stop(None)
    await servicer.stop()
    assert (info.service, info.model, info.device, info.dtype) == (name, "tiny", "cpu", "float32")
    checkpoint = Checkpoint.open(tiny_checkpoint)
    assert (info.weights, info.embedding_width) == (checkpoint.fingerprint, 48)
    assert info.parts and set(info.parts) <= set(checkpoint.parts)


async def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    servicer = build("vision_encoder", tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="nothing"):
        await servicer.start()
    await servicer.stop()
