"""Pictures, videos and camera frames → embeddings, once for each content: the store keeps them by hash."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Literal

import grpc

from protos.parley.v1.tensor_pb2 import Tensor
from protos.parley.v1.vision_encoder_pb2 import EncodeVisionRequest, EncodeVisionResponse, Frames
from services.gateway.events.items import Ref
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.media.image_size import image_size
from services.gateway.settings import MediaSettings
from services.gateway.store.protocols import Embeddings
from services.gateway.upstream.calls import Calls
from services.rpc import streams
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much
from services.telemetry import tracing

Kind = Literal["image", "video", "frames"]

ENCODE_SECONDS = 90.0  # that an encoder may take for one picture or video


@dataclass(frozen=True)
class EncodedImage:
    ref: Ref
    kind: Kind
    files: Sequence[bytes]  # what it was made of
    seconds: float  # from the picture's arrival to its embeddings
    tensor: Tensor | None = None  # [length, language width]; None: the store has it


class Images:
    def __init__(self, embeddings: Embeddings, writer: EmbeddingWriter, settings: MediaSettings):
        self._embeddings, self._writer, self._settings = embeddings, writer, settings

    def check(self, kind: Literal["image", "video", "frame"], data: bytes) -> None:
        """Raises `ServiceError` for an empty file or one above a limit, of bytes or of pixels, before it is decoded.

        The pixels of a video, and of kinds of pictures that are not read here, are checked by the vision encoder.
        """
        limit = "max_video_bytes" if kind == "video" else "max_image_bytes"
        most = getattr(self._settings, limit)
        if not data:
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, f"{kind} is empty; send the bytes of a file")
        if len(data) > most:
            message = f"{kind} of {len(data)} bytes is above the limit of {most}; send a smaller one"
            raise too_much("gateway", limit, message)
        if kind != "video":
            self._check_pixels(kind, data)

    def _check_pixels(self, kind: str, data: bytes) -> None:
        width, height = image_size(data) or (0, 0)
        most = self._settings.max_image_pixels
        if width * height > most:
            message = f"{kind} of {width}×{height} pixels is above the limit of {most} pixels; send a smaller one"
            raise too_much("gateway", "max_image_pixels", message)

    async def encode(self, kind: Kind, files: Sequence[bytes], session_id: str, calls: Calls) -> EncodedImage:
        """`files`: one image or video, or the frames in order. Raises `ServiceError`."""
        with tracing.step("encode_picture") as step:
            tracing.annotate(kind=kind, files=len(files))
            weights = (await calls.describe("vision_encoder")).weights
            content_hash = await asyncio.to_thread(_hash, kind, files)
            ref, tensor = await self._embeddings.find(weights, content_hash), None
            tracing.annotate(kept=ref is not None)
            if ref is None:
                answer = await self._encode(kind, files, session_id, calls)
                tensor = answer.embeddings
                ref = Ref(weights=answer.weights, hash=content_hash, length=tensor.shape[0])
                self._writer.write(ref, tensor)
        return EncodedImage(ref, kind, files, step.seconds, tensor)

    async def encode_again(self, image: Awaitable[EncodedImage], session_id: str, calls: Calls) -> EncodedImage:
        """A picture that may have been encoded by another release, for a turn that is bound to this one."""
        encoded = await image
        if encoded.ref.weights == (await calls.describe("vision_encoder")).weights:
            return encoded
        return await self.encode(encoded.kind, encoded.files, session_id, calls)

    async def tensor(self, image: EncodedImage, session_id: str, calls: Calls) -> Tensor | None:
        """The embeddings of a picture: still here, kept by the store, or made again.

        None where they would not be the same: the vision encoder has other weights now.
        """
        if image.tensor is not None:
            return image.tensor
        kept = (await self._embeddings.get([image.ref])).get(image.ref)
        if kept is not None:
            return Tensor.FromString(kept)
        answer = await self._encode(image.kind, image.files, session_id, calls)
        return answer.embeddings if answer.weights == image.ref.weights else None

    async def _encode(self, kind: Kind, files: Sequence[bytes], session_id: str, calls: Calls) -> EncodeVisionResponse:
        request = request_of(kind, files)
        request.session_id, request.deadline_ms = session_id, streams.deadline_in(ENCODE_SECONDS)
        return await calls.encode_images(request, ENCODE_SECONDS)


def request_of(kind: Kind, files: Sequence[bytes]) -> EncodeVisionRequest:
    if kind == "frames":
        return EncodeVisionRequest(frames=Frames(images=files))
    return EncodeVisionRequest(**{kind: files[0]})


def _hash(kind: str, files: Sequence[bytes]) -> str:
    digest = hashlib.sha256(kind.encode())
    for file in files:
        digest.update(hashlib.sha256(file).digest())
    return digest.hexdigest()
