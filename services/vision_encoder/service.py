"""`parley.v1.VisionEncoder` over the engine: files in, vectors out. Decoding has its own threads and its own limits."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from parley.checkpoints import load_model
from parley.media.image import TooLargeError, frames_to_pixels, read_image, tile
from parley.media.video import read_video
from protos.parley.v1 import vision_encoder_pb2 as pb
from protos.parley.v1 import vision_encoder_pb2_grpc as rpcs
from services.engine.service import EngineService
from services.rpc import streams, tensors
from services.rpc.decorator import rpc
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much
from services.telemetry import metrics
from services.vision_encoder.engine import SERVICE, Engine
from services.vision_encoder.settings import VisionEncoderSettings

PARTS = ("vision_encoder", "vision_adapter")


class VisionEncoderService(EngineService[Engine], rpcs.VisionEncoderServicer):
    service = SERVICE

    def __init__(self, settings: VisionEncoderSettings):
        super().__init__(settings)
        self._decoders = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="vision-decode")
        self._in_work = 0

    def load(self) -> Engine:
        """Encodes an empty picture, and a full batch of them."""
        settings = self.settings
        model = load_model(self.checkpoint, PARTS, settings.device, getattr(torch, settings.dtype))
        self.config = model.config.vision
        engine = Engine(model.vision_encoder, model.vision_adapter, settings)
        for tiles in {1, settings.max_batch}:
            engine.run(torch.zeros(tiles, 3, self.config.image_size, self.config.image_size))
        return engine

    async def stop(self) -> None:
        await super().stop()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    @rpc
    async def Encode(self, request, context) -> pb.EncodeVisionResponse:
        check_sizes(request, self.settings)
        if self._in_work >= self.settings.max_queued:
            metrics.REFUSED.labels(SERVICE, "max_queued").inc()
            raise ServiceError.at_capacity("pictures", self.settings.max_queued)
        self._in_work += 1
        try:
            async with streams.within(request.deadline_ms):
                loop = asyncio.get_running_loop()
                try:
                    pixels = await loop.run_in_executor(self._decoders, self._decode, request)
                except TooLargeError as error:
                    raise too_much(SERVICE, "max_pixels", str(error)) from None
                vectors, seconds = await self.engine.encode(pixels)
        finally:
            self._in_work -= 1
        embeddings = tensors.from_torch(vectors.flatten(0, 1))
        return pb.EncodeVisionResponse(embeddings=embeddings, pictures=len(pixels), compute_seconds=seconds)

    def _decode(self, request: pb.EncodeVisionRequest) -> Tensor:
        """The request's tiles or frames [n, 3, side, side]. Raises as `read_image` and `read_video` do."""
        most = self.settings.max_pixels
        match request.WhichOneof("input"):
            case "image":
                return torch.from_numpy(tile(read_image(request.image, most), self.config))
            case "video":
                return torch.from_numpy(frames_to_pixels(read_video(request.video, self.config, most), self.config))
            case _:  # one at a time: of a large frame only its small tensor is kept
                frames = request.frames.images
                tiles = [frames_to_pixels([read_image(data, most)], self.config) for data in frames]
                return torch.from_numpy(np.concatenate(tiles))


def check_sizes(request: pb.EncodeVisionRequest, settings: VisionEncoderSettings) -> None:
    """Raises `ValueError` for a request that holds nothing, RESOURCE_EXHAUSTED for more than the settings allow."""
    kind = request.WhichOneof("input")
    if kind is None:
        raise ValueError("the request holds nothing to see; send an image, a video or frames")
    if kind == "video":
        files, limit = [request.video], "max_video_bytes"
    else:
        files, limit = [request.image] if kind == "image" else request.frames.images, "max_image_bytes"
    if not files:
        raise ValueError("the request holds no frames")
    if len(files) > settings.max_frames:
        raise too_much(SERVICE, "max_frames", f"{len(files)} frames in one request; send at most {settings.max_frames}")
    most = getattr(settings, limit)
    for data in files:
        if not data:
            raise ValueError(f"the {kind} is empty")
        if len(data) > most:
            raise too_much(SERVICE, limit, f"the {kind} has {len(data)} bytes; send at most {most}")
