"""The vision encoder gives the same embeddings from a Triton server as from its own engine."""

import asyncio
import io

import numpy as np
import torch
from PIL import Image

from protos.parley.v1 import vision_encoder_pb2 as pb
from protos.parley.v1.model_info_pb2 import DescribeRequest
from protos.parley.v1.vision_encoder_pb2_grpc import VisionEncoderStub
from services.rpc import tensors


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


async def encode_all(channel) -> list[torch.Tensor]:
    """Single pictures and two larger requests, all at once."""
    stub = VisionEncoderStub(channel)
    requests = [pb.EncodeVisionRequest(image=picture(i)) for i in range(6)]
    requests += [pb.EncodeVisionRequest(frames=pb.Frames(images=map(picture, range(n)))) for n in (7, 40)]
    responses = await asyncio.gather(*(stub.Encode(request) for request in requests))
    assert all(response.compute_seconds > 0 for response in responses)
    return [tensors.to_torch(response.embeddings) for response in responses]


async def test_the_embeddings_are_those_of_the_local_engine(run_service, triton):
    async with run_service("vision_encoder") as (_, channel):
        wanted = await encode_all(channel)
    # Calls of more tiles than the server's largest batch (32) are cut.
    async with run_service("vision_encoder", triton.url, max_batch=50, max_wait_ms=50) as (_, channel):
        got = await encode_all(channel)
    for found, expected in zip(got, wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


async def test_what_it_says_of_itself(run_service, triton):
    async with run_service("vision_encoder", triton.url) as (service, channel):
        info = await VisionEncoderStub(channel).Describe(DescribeRequest())
        assert (info.device, info.dtype, info.weights) == ("triton", "float32", service.checkpoint.fingerprint)
        assert service.alive
    assert not service.alive
