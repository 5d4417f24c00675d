"""What is being asked, as it arrives: audio and its vectors, pictures, text.

It only grows while the question lasts, so that a stage whose service died can read it again from the start.
"""

from __future__ import annotations

import asyncio
import hashlib
import time

import grpc

from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.audio import BYTES_PER_SECOND
from services.gateway.embeddings import Embeddings
from services.gateway.history import KeptPart
from services.gateway.pictures import Encoded
from services.gateway.replay import Log
from services.gateway.settings import GatewaySettings
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much


class Question:
    def __init__(self, spoken: bool, settings: GatewaySettings):
        self.spoken = spoken
        self.audio: Log[bytes] = Log()  # 16 kHz, 16-bit
        self.vectors: Log[Tensor] = Log()  # [vectors, language width] each
        self.vector_count = 0
        self.transcript = ""
        self.pictures: list[asyncio.Task[Encoded]] = []
        self.texts: list[str] = []
        self.ended = asyncio.Event()
        self._settings = settings
        self._bytes = 0
        self._last_audio = time.monotonic()

    @property
    def seconds(self) -> float:
        """Of audio."""
        return self._bytes / BYTES_PER_SECOND

    @property
    def idle_seconds(self) -> float:
        """Since the last audio, while more is due."""
        return time.monotonic() - self._last_audio if self.spoken and not self.ended.is_set() else 0.0

    @property
    def characters(self) -> int:
        """Of text."""
        return sum(map(len, self.texts))

    def add_audio(self, audio: bytes) -> None:
        """Raises `ServiceError` where the question becomes too long."""
        assert self.spoken and not self.ended.is_set()
        self._last_audio = time.monotonic()
        self._bytes += len(audio)
        if self.seconds > self._settings.max_audio_seconds:
            message = f"the question is above the limit of {self._settings.max_audio_seconds:g} s of audio; ask shorter"
            raise too_much("gateway", "max_audio_seconds", message)
        if audio:
            self.audio.append(audio)

    def end(self) -> None:
        """Nothing more comes. Raises `ServiceError` where a spoken question is too short to be one."""
        self.audio.close()
        self.ended.set()
        if self.spoken and self.seconds < self._settings.min_audio_seconds:
            message = (
                f"audio of {self.seconds:.3f} s is too short to be a question; "
                f"send at least {self._settings.min_audio_seconds:g} s"
            )
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)

    def add_vectors(self, vectors: Tensor, skip: int) -> None:
        """Without the first `skip` rows."""
        rows, *rest = vectors.shape
        if skip:
            data = vectors.data[skip * (len(vectors.data) // rows) :]
            vectors = Tensor(dtype=vectors.dtype, shape=[rows - skip, *rest], data=data)
        self.vectors.append(vectors)
        self.vector_count += rows - skip

    async def keep(self, embeddings: Embeddings) -> list[KeptPart]:
        """Its parts as history has them; the embeddings of its speech are kept beside."""
        parts = []
        for picture in self.pictures:
            if picture.done() and not picture.cancelled() and picture.exception() is None:
                encoded = picture.result()
                parts.append(KeptPart(kind="image", hash=encoded.hash, vectors=encoded.embeddings.shape[0]))
        if self.vectors.items:
            content = hashlib.sha256(b"speech")
            for audio in self.audio.items:
                content.update(audio)
            first = self.vectors.items[0]
            data = b"".join(vectors.data for vectors in self.vectors.items)
            joined = Tensor(dtype=first.dtype, shape=[self.vector_count, *first.shape[1:]], data=data)
            name = content.hexdigest()
            await embeddings.put("speech", name, joined)
            parts.append(KeptPart(kind="speech", hash=name, vectors=self.vector_count, text=self.transcript))
        return parts + [KeptPart(kind="text", text=text) for text in self.texts]
