"""`parley.v1.VisionEncoder` over the engine: files in, embeddings out. Files are decoded in threads of their own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from parley.checkpoints import load_model
from parley.export.graph import vision_graph
from parley.media.image import TooLargeError, frames_to_pixels, read_image, tile
from parley.media.video import read_video
from protos.parley.v1 import vision_encoder_pb2 as pb
from protos.parley.v1 import vision_encoder_pb2_grpc as rpcs
from services.engine.compiled import compiled
from services.engine.service import EngineService
from services.rpc import streams, tensors
from services.rpc.decorator import rpc
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much
from services.telemetry import metrics, tracing
from services.vision_encoder.backends import Backend
from services.vision_encoder.backends.local import LocalBackend
from services.vision_encoder.engine import SERVICE, Engine
from services.vision_encoder.settings import VisionEncoderSettings

PARTS = ("vision_encoder", "vision_adapter")


class VisionEncoderService(EngineService[Engine], rpcs.VisionEncoderServicer):
    service = SERVICE
    settings: VisionEncoderSettings

    def __init__(self, settings: VisionEncoderSettings):
        super().__init__(settings)
        self._decoders = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="vision-decode")
        self._in_progress = 0  # requests

    def choose_parts(self) -> tuple[str, ...]:
        return PARTS

    def load(self) -> Engine:
        """Warms up with one empty tile, and with a full batch of them."""
        self.config = self.checkpoint.config.vision
        backend = self._triton() if self.settings.backend == "triton" else self._local()
        side = self.config.image_size
        for tiles in {1, self.settings.max_batch}:
            backend.run(torch.zeros(tiles, 3, side, side))
        return Engine(backend, self.settings)

    def _local(self) -> LocalBackend:
        settings = self.settings
        model = load_model(self.checkpoint, self.parts, settings.device, getattr(torch, settings.dtype))
        graph = vision_graph(model)
        return LocalBackend(compiled(graph, settings) or graph.network, settings)

    def _triton(self) -> Backend:
        from services.engine.triton import TritonModel  # the extra `triton`
        from services.vision_encoder.backends.triton import TritonBackend

        model = TritonModel.connect(SERVICE, self.checkpoint.fingerprint, self.settings, self.loop)
        self.settings = model.describe(self.settings)
        return TritonBackend(model)

    async def stop(self) -> None:
        await super().stop()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    @rpc
    async def Encode(self, request, context) -> pb.EncodeVisionResponse:
        check_sizes(request, self.settings)
        if self._in_progress >= self.settings.max_queued:
            metrics.REFUSED.labels(SERVICE, "max_queued").inc()
            raise ServiceError.at_capacity("pictures", self.settings.max_queued)
        self._count(1)
        try:
            async with streams.within(request.deadline_ms):
                with tracing.step("read_files"):
                    pixels = await self._decode(request)
                embeddings, seconds = await self.engine.encode(pixels)
        finally:
            self._count(-1)
        tracing.annotate(weights=self.checkpoint.fingerprint, tiles=len(pixels))
        tensor = tensors.from_torch(embeddings.flatten(0, 1))
        return pb.EncodeVisionResponse(
            embeddings=tensor,
            pictures=len(pixels),
            compute_seconds=seconds,
            weights=self.checkpoint.fingerprint,
        )

    def _count(self, more: int) -> None:
        self._in_progress += more
        metrics.SLOTS_USED.labels(SERVICE).set(self._in_progress)

    async def _decode(self, request: pb.EncodeVisionRequest) -> torch.Tensor:
        """The request's tiles or frames [n, 3, side, side]. Raises as `read_image` and `read_video` do."""
        loop = asyncio.get_running_loop()
        try:
            return torch.from_numpy(await loop.run_in_executor(self._decoders, self._read_files, request))
        except TooLargeError as error:
            raise too_much(SERVICE, "max_pixels", str(error)) from None

    def _read_files(self, request: pb.EncodeVisionRequest) -> np.ndarray:
        most = self.settings.max_pixels
        match request.WhichOneof("input"):
            case "image":
                return tile(read_image(request.image, most), self.config)
            case "video":
                return frames_to_pixels(read_video(request.video, self.config, most), self.config)
            case _:  # one at a time: of a large frame only its small tensor is kept
                frames = request.frames.images
                return np.concatenate([frames_to_pixels([read_image(data, most)], self.config) for data in frames])


def check_sizes(request: pb.EncodeVisionRequest, settings: VisionEncoderSettings) -> None:
    """Raises `ValueError` for a request without input, RESOURCE_EXHAUSTED for one that is above a limit."""
    kind = request.WhichOneof("input")
    if kind is None:
        raise ValueError("the request has no input; send an image, a video or frames")
    if kind == "video":
        files, limit = [request.video], "max_video_bytes"
    else:
        files, limit = [request.image] if kind == "image" else request.frames.images, "max_image_bytes"
    if not files:
        raise ValueError("the request has no frames; send at least one")
    if len(files) > settings.max_frames:
        raise too_much(SERVICE, "max_frames", f"{len(files)} frames in one request; send at most {settings.max_frames}")
    for data in files:
        _check_file(kind, len(data), limit, getattr(settings, limit))


def _check_file(kind: str, size: int, limit: str, most: int) -> None:
    if not size:
        raise ValueError(f"the {kind} is empty; send the bytes of a file")
    if size > most:
        raise too_much(SERVICE, limit, f"the {kind} has {size} bytes; send at most {most}")
