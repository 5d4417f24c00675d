"""Pictures, videos and camera frames → embeddings, once for each content: the store remembers them by their hash."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import grpc

from protos.parley.v1.tensor_pb2 import Tensor
from protos.parley.v1.vision_encoder_pb2 import EncodeVisionRequest, Frames
from services.gateway.embeddings import Embeddings
from services.gateway.settings import GatewaySettings
from services.gateway.upstream import Upstream
from services.rpc import streams
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much


@dataclass(frozen=True)
class Encoded:
    hash: str
    embeddings: Tensor  # [tokens, language width]
    seconds: float  # from the picture's arrival to its embeddings


class Pictures:
    def __init__(self, embeddings: Embeddings, upstream: Upstream, settings: GatewaySettings):
        self._embeddings, self._upstream, self._settings = embeddings, upstream, settings

    def check(self, kind: Literal["image", "video", "frame"], data: bytes) -> None:
        """Raises `ServiceError` for an empty file or one above the limit."""
        limit = self._settings.max_video_bytes if kind == "video" else self._settings.max_image_bytes
        if not data:
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, f"{kind} is empty; send the bytes of a file")
        if len(data) > limit:
            message = f"{kind} of {len(data)} bytes is above the limit of {limit}; send a smaller one"
            raise too_much("gateway", "max_video_bytes" if kind == "video" else "max_image_bytes", message)

    async def encode(
        self, kind: Literal["image", "video", "frames"], files: Sequence[bytes], session_id: str
    ) -> Encoded:
        """`files`: one image or video, or the frames in order. Raises `ServiceError`."""
        started = time.monotonic()
        digest = hashlib.sha256(kind.encode())
        for file in files:
            digest.update(hashlib.sha256(file).digest())
        content_hash = digest.hexdigest()
        kept = (await self._embeddings.get([("image", content_hash)])).get(content_hash)
        if kept is not None:
            return Encoded(content_hash, Tensor.FromString(kept), time.monotonic() - started)
        timeout = self._settings.turn_seconds / 2
        request = EncodeVisionRequest(session_id=session_id, deadline_ms=streams.deadline_in(timeout))
        if kind == "frames":
            request.frames.CopyFrom(Frames(images=files))
        else:
            setattr(request, kind, files[0])
        answer = await self._upstream.encode(request, timeout)
        await self._embeddings.put("image", content_hash, answer.embeddings)
        return Encoded(content_hash, answer.embeddings, time.monotonic() - started)
