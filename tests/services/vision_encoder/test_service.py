"""The vision encoder as its clients see it, over real gRPC, with the real engine."""

import asyncio
import io
import struct
import threading
import time
import zlib

import av
import grpc
import numpy as np
import pytest
import torch
from PIL import Image

from parley.checkpoints import load_model
from parley.media.image import frames_to_pixels, read_image, tile
from protos.parley.v1 import vision_encoder_pb2 as pb
from protos.parley.v1.vision_encoder_pb2_grpc import VisionEncoderStub
from services.engine.load import Load
from services.registry import SERVICES
from services.rpc import tensors
from services.rpc.errors import retry_after
from services.rpc.server import start_server
from services.rpc.streams import deadline_in
from services.vision_encoder.service import VisionEncoderService
from services.vision_encoder.settings import VisionEncoderSettings


def picture(seed: int, kind: str = "PNG", size: int = 40) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def huge_png(side: int) -> bytes:
    """A PNG that says it is `side` × `side`, in a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    )


def video(seconds: float) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 48
        stream.pix_fmt = "yuv420p"
        for i in range(int(seconds * 8)):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 48, 3), 9 * i, np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    return file.getvalue()


class Client:
    def __init__(self, service: VisionEncoderService, stub: VisionEncoderStub):
        self.service, self.stub = service, stub

    async def encode(self, **fields) -> pb.EncodeVisionResponse:
        return await self.stub.Encode(pb.EncodeVisionRequest(session_id="s", turn_id="t", **fields))

    async def refused(self, **fields) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.encode(**fields)
        return caught.value


@pytest.fixture
async def start(tiny_checkpoint):
    """Starts the service with given settings."""
    running = []

    async def build(**settings) -> Client:
        service = VisionEncoderService(VisionEncoderSettings(checkpoint=tiny_checkpoint, **settings))
        await service.start()
        server, port = await start_server(SERVICES["vision_encoder"], service)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        running.append((service, server, channel))
        return Client(service, VisionEncoderStub(channel))

    yield build
    for service, server, channel in running:
        await channel.close()
        await server.stop(None)
        await service.stop()


@pytest.fixture
def model(tiny_checkpoint):
    return load_model(tiny_checkpoint, ["vision_encoder", "vision_adapter"])


@torch.inference_mode()
def expected(model, pixels):
    return model.vision_adapter(model.vision_encoder(pixels)).flatten(0, 1)


def check(response: pb.EncodeVisionResponse, wanted) -> None:
    torch.testing.assert_close(tensors.to_torch(response.embeddings), wanted, rtol=1e-4, atol=1e-4)
    assert response.compute_seconds > 0


@pytest.mark.parametrize("settings", [{}, {"max_batch": 3, "max_wait_ms": 20}, {"max_batch": 1}])
async def test_requests_share_steps_and_get_their_own_embeddings(start, model, settings):
    client = await start(**settings)
    files = [picture(i, kind) for i, kind in enumerate(("PNG", "JPEG", "WEBP", "PNG", "PNG"))]
    frames = [picture(10 + i) for i in range(7)]
    *singles, many = await asyncio.gather(
        *(client.encode(image=data) for data in files), client.encode(frames=pb.Frames(images=frames))
    )
    for data, response in zip(files, singles, strict=True):
        check(response, expected(model, torch.from_numpy(tile(read_image(data), model.config.vision))))
        assert response.pictures == 1
    pixels = frames_to_pixels([read_image(data) for data in frames], model.config.vision)
    check(many, expected(model, torch.from_numpy(pixels)))
    assert many.pictures == 7


async def test_a_video_is_sampled(start):
    client = await start()
    response = await client.encode(video=video(2.0))
    assert response.pictures == 4
    assert list(response.embeddings.shape) == [4 * 4, 48]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "has no input"),
        ({"image": b""}, "the image is empty"),
        ({"image": b"hello, this is no picture"}, "cannot read 25 bytes"),
        ({"image": picture(0)[:200]}, "damaged"),
        ({"video": b"no video"}, "cannot read 8 bytes as a video"),
        ({"frames": pb.Frames()}, "has no frames"),
        ({"frames": pb.Frames(images=[picture(0), b"x"])}, "cannot read 1 bytes"),
    ],
)
async def test_bad_input_is_named_and_others_are_served(start, fields, reason):
    client = await start(max_frames=8, max_image_bytes=100_000, max_video_bytes=200_000)
    good, error = await asyncio.gather(client.encode(image=picture(1)), client.refused(**fields))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in error.details()
    assert good.pictures == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"image": huge_png(20_000)}, "too large"),
        ({"image": bytes(100_001)}, "the image has 100001 bytes; send at most 100000"),
        ({"video": bytes(300_000)}, "the video has 300000 bytes"),
        ({"frames": pb.Frames(images=[picture(0)] * 9)}, "9 frames in one request; send at most 8"),
        ({"frames": pb.Frames(images=[picture(0), huge_png(20_000)])}, "too large"),
    ],
)
async def test_what_is_above_a_limit_is_refused(start, fields, reason):
    client = await start(max_frames=8, max_image_bytes=100_000, max_video_bytes=200_000)
    error = await client.refused(**fields)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason in error.details() and retry_after(error) == 0
    assert (await client.encode(image=picture(1))).pictures == 1


async def test_a_full_service_refuses_until_one_has_ended(start, monkeypatch):
    client = await start(max_queued=2)
    run, may_run = client.service.engine.backend.run, threading.Event()
    monkeypatch.setattr(client.service.engine.backend, "run", lambda pixels: may_run.wait(60) and run(pixels))
    held = [asyncio.ensure_future(client.encode(image=picture(i))) for i in range(2)]
    while client.service._in_progress < 2:
        await asyncio.sleep(0.01)
    error = await client.refused(image=picture(2))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after(error) > 0
    may_run.set()
    assert [(await response).pictures for response in held] == [1, 1]
    assert (await client.encode(image=picture(9))).pictures == 1


async def test_late_requests_are_dropped(start):
    client = await start(max_wait_ms=200)
    error = await client.refused(image=picture(0), deadline_ms=int(time.time() * 1000) - 1000)
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    error = await client.refused(image=picture(0), deadline_ms=deadline_in(0.05))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await client.encode(image=picture(1))).pictures == 1
    assert client.service._in_progress == 0


async def test_a_failing_step_ends_its_requests_and_no_others(start, monkeypatch):
    client = await start(max_batch=2)
    run, broken = client.service.engine.backend.run, [True]

    def fail_once(pixels):
        if broken.pop() if broken else False:
            raise RuntimeError("out of memory")
        return run(pixels)

    monkeypatch.setattr(client.service.engine.backend, "run", fail_once)
    error = await client.refused(frames=pb.Frames(images=[picture(i) for i in range(5)]))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "memory" not in error.details()
    assert (await client.encode(image=picture(1))).pictures == 1
    assert client.service.alive


async def test_an_error_before_a_batch_is_chosen_leaves_the_requests_of_the_last_one_alone(start, monkeypatch):
    client = await start(max_batch=2)
    gather, fails = client.service.engine._gather, [False, True]

    def fail_in_the_second_step():
        if fails and fails.pop(0):
            raise RuntimeError("out of memory")
        return gather()

    monkeypatch.setattr(client.service.engine, "_gather", fail_in_the_second_step)
    assert (await client.encode(frames=pb.Frames(images=[picture(i) for i in range(5)]))).pictures == 5
    assert not fails


async def test_stopping_answers_waiting_requests_and_refuses_new_ones(tiny_checkpoint):
    service = VisionEncoderService(VisionEncoderSettings(checkpoint=tiny_checkpoint, max_wait_ms=5000))
    await service.start()
    side = service.config.image_size
    waiting = asyncio.create_task(service.engine.encode(torch.zeros(1, 3, side, side)))
    await asyncio.sleep(0.05)
    await service.stop()
    assert (await waiting)[0].shape[0] == 1
    with pytest.raises(Exception, match="stopping"):
        await service.engine.encode(torch.zeros(1, 3, side, side))
    assert not service.alive


async def test_the_load_is_the_share_of_the_time_that_it_computes(start, monkeypatch):
    client = await start(max_batch=4)
    engine = client.service.engine
    assert engine.current_load() == Load(4, 0.0, 0)
    release, original = threading.Event(), engine.backend.run

    def run(pixels):
        release.wait(20)
        return original(pixels)

    monkeypatch.setattr(engine.backend, "run", run)
    calls = [asyncio.create_task(client.encode(image=picture(seed))) for seed in range(6)]
    async with asyncio.timeout(20):
        while engine.current_load().queued < 2:
            await asyncio.sleep(0.01)
    release.set()
    await asyncio.gather(*calls)
    load = engine.current_load()
    assert load.queued == 0 and 0 < load.used <= 4 and load.real_time_factor is None
