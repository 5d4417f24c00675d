"""What is being asked, as it arrives: audio and its embeddings, pictures, text.

It only grows while the question lasts, so that a function whose service died can read it again from the start.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable

import grpc

from protos.parley.v1.language_model_pb2 import Part
from protos.parley.v1.tensor_pb2 import EmbeddingRef, Tensor
from services.gateway.events.items import ItemPart, Ref
from services.gateway.media.images import EncodedImage
from services.gateway.settings import MediaSettings
from services.gateway.turn.encode_speech import PAUSE, Tail
from services.gateway.turn.input_log import InputLog
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much

BYTES_PER_SAMPLE = 2


class Question:
    def __init__(self, spoken: bool, sample_rate: int, settings: MediaSettings):
        """`sample_rate`: Hz, of the audio."""
        self.spoken = spoken
        self.audio: InputLog[bytes] = InputLog()  # 16-bit; `PAUSE` where it may be over
        self.embeddings: InputLog[Tensor] = InputLog()  # [n, language width] each
        self._whole: list[Tensor] = []  # the embeddings, with those of the pause at which it was over
        self.tail: Tail | None = None  # of the newest pause that the speech encoder has answered
        self.transcript = ""
        self.images: list[asyncio.Task[EncodedImage]] = []
        self.texts: list[str] = []
        self.ended = asyncio.Event()
        self.utterance: Ref | None = None  # what its speech is called, once it is complete
        self.weights = ""  # that made the embeddings
        self._audio_hash = hashlib.sha256(b"speech")
        self.sample_rate, self._settings = sample_rate, settings
        self._bytes = 0
        self._last_audio = time.monotonic()

    @property
    def has_content(self) -> bool:
        """Otherwise what is in the history already is answered."""
        return self.spoken or bool(self.images or self.texts)

    @property
    def seconds(self) -> float:
        """Of audio."""
        return self._bytes / BYTES_PER_SAMPLE / self.sample_rate

    def seconds_with(self, audio: bytes) -> float:
        """Of audio, if this were added."""
        return self.seconds + len(audio) / BYTES_PER_SAMPLE / self.sample_rate

    @property
    def held_bytes(self) -> int:
        """Of audio and its embeddings."""
        return sum(map(len, self.audio.items)) + sum(len(tensor.data) for tensor in self.embeddings.items)

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
            self._audio_hash.update(audio)
            self.audio.append(audio)

    def pause(self) -> int:
        """The speech may be over here. → the place of the pause in the log of audio."""
        assert self.spoken and not self.ended.is_set()
        if not self.audio.items or self.audio.items[-1] != PAUSE:
            self.audio.append(PAUSE)
        return len(self.audio.items) - 1

    def over_at(self, tail: Tail) -> bool:
        """Nothing has been said since that pause."""
        return len(self.audio.items) == tail.pause + 1

    def set_tail(self, tail: Tail) -> None:
        """What the speech encoder makes of a pause."""
        self.tail = tail
        self.embeddings.wake()

    @property
    def num_embeddings(self) -> int:
        return sum(tensor.shape[0] for tensor in self.embeddings.items if tensor.shape)

    def end(self) -> None:
        """Nothing more comes. Raises `ServiceError` where a spoken question is too short to be one."""
        self.audio.close()
        self.ended.set()
        self.embeddings.wake()
        if self.spoken and self.seconds < self._settings.min_audio_seconds:
            message = (
                f"audio of {self.seconds:.3f} s is too short to be a question; "
                f"send at least {self._settings.min_audio_seconds:g} s"
            )
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)

    def forget_embeddings(self) -> None:
        """Its speech is to be encoded from its start, by other weights."""
        self.embeddings, self.weights, self.utterance, self.tail = InputLog(), "", None, None
        self._whole.clear()

    def name_utterance(self) -> None:
        """All of its speech is encoded."""
        self.utterance = self.utterance or self._name(self.num_embeddings, self.weights)

    def end_with(self, tail: Tail) -> None:
        """It was over at that pause: its speech is known before the speech encoder says so."""
        assert self.ended.is_set() and self.over_at(tail)
        if self.utterance is None:
            self._whole = [*self.embeddings.items, tail.embeddings]
            self.utterance, self.weights = self.name_with(tail), tail.weights
            self.transcript = tail.transcript or self.transcript

    def name_with(self, tail: Tail) -> Ref | None:
        """What its speech is called if it is over at the newest pause."""
        return self._name(tail.position + tail.embeddings.shape[0], tail.weights)

    def _name(self, length: int, weights: str) -> Ref | None:
        return Ref(weights=weights, hash=self._audio_hash.hexdigest(), length=length) if length else None

    def speech(self) -> Tensor:
        """All embeddings of its speech: [length, language width]."""
        pieces = self._whole or self.embeddings.items
        length = sum(tensor.shape[0] for tensor in pieces)
        data = b"".join(tensor.data for tensor in pieces)
        return Tensor(dtype=pieces[0].dtype, shape=[length, *pieces[0].shape[1:]], data=data)

    def encoded_images(self) -> list[EncodedImage]:
        """Of its pictures, those that are encoded by now."""
        done = (task for task in self.images if task.done() and not task.cancelled() and task.exception() is None)
        return [task.result() for task in done]

    def item_parts(self) -> list[ItemPart]:
        """Its parts as history has them."""
        parts = [ItemPart(kind="image", ref=image.ref) for image in self.encoded_images()]
        if self.spoken:  # without a reference until all of it is encoded
            parts.append(ItemPart(kind="speech", ref=self.utterance, text=self.transcript))
        return parts + [ItemPart(kind="text", text=text) for text in self.texts]

    def release(self) -> None:
        """The turn is over: what is large is let go, since a connection keeps its newest turn."""
        self.utterance = self.tail = None
        self.images.clear()
        self._whole.clear()
        self.audio.items.clear()
        self.embeddings.items.clear()

    async def write_images(self, parts: InputLog[Part]) -> None:
        """Writes its pictures, in front of all else; returns when all that have come are encoded."""
        position = 0
        while position < len(self.images):
            image = await asyncio.shield(self.images[position])  # another attempt may wait for it
            parts.append(Part(image=to_wire(image.ref)))
            position += 1

    async def write_speech(self, parts: InputLog[Part], wanted: Callable[[Tail], bool]) -> Tail | None:
        """Writes its speech as it comes, to its end or to a pause that is `wanted`. → the pause."""
        position = 0
        while True:
            while position < len(self.embeddings.items):
                parts.append(Part(speech=self.embeddings.items[position]))
                position += 1
            if self.tail is not None and self.tail.position == self.num_embeddings and wanted(self.tail):
                if len(self.tail.embeddings.data):
                    parts.append(Part(speech=self.tail.embeddings))
                return self.tail
            if self.embeddings.closed:
                return None
            await self.embeddings.changed()

    def write_texts(self, parts: InputLog[Part]) -> None:
        """Writes its text, behind all else."""
        for text in self.texts:
            parts.append(Part(text=text))


def to_wire(ref: Ref) -> EmbeddingRef:
    return EmbeddingRef(weights=ref.weights, hash=ref.hash, length=ref.length)
