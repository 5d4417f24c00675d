"""Pictures and speech that a client sends as content of an item → parts of that item, encoded at once."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.conversation.question import Question
from services.gateway.events.items import ItemPart
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.media.held_embeddings import HeldEmbeddings
from services.gateway.media.images import EncodedImage, Images
from services.gateway.media.originals import Originals
from services.gateway.settings import ConversationSettings, MediaSettings
from services.gateway.store.protocols import Embeddings
from services.gateway.turn.encode_speech import encode_speech
from services.gateway.upstream.calls import CallContext, Calls
from services.rpc import streams
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much

ENCODE_SECONDS = 90.0  # that the speech encoder may take for one utterance


class PartEncoder:
    """Of one connection or request. What it returns the store has, if it keeps it at all; `held` has the newest too.

    Every method raises `ServiceError` for what is empty, damaged or above a limit.
    """

    def __init__(self, embeddings: Embeddings, settings: ConversationSettings, media: MediaSettings):
        self.held = HeldEmbeddings()
        self._settings, self._media = settings, media
        self._writer = EmbeddingWriter(embeddings)
        self._images = Images(embeddings, self._writer, media)
        self._originals = Originals(embeddings, self._writer)

    async def encode_image(self, data: bytes, session_id: str, calls: Calls) -> ItemPart:
        """`data`: the bytes of a picture's file."""
        self._images.check("image", data)
        return await self._keep(await self._images.encode("image", [data], session_id, calls))

    async def encode_video(self, data: bytes, session_id: str, calls: Calls) -> ItemPart:
        """`data`: the bytes of a video's file."""
        self._images.check("video", data)
        return await self._keep(await self._images.encode("video", [data], session_id, calls))

    async def encode_frames(self, frames: Sequence[bytes], session_id: str, calls: Calls) -> ItemPart:
        """`frames`: picture files in the order in which they are seen."""
        if len(frames) > self._settings.max_frames:
            message = f"{len(frames)} frames are above the limit of {self._settings.max_frames}; send fewer"
            raise too_much("gateway", "max_frames", message)
        for frame in frames:
            self._images.check("frame", frame)
        return await self._keep(await self._images.encode("frames", frames, session_id, calls))

    async def encode_audio(self, pcm: bytes, session_id: str, calls: Calls) -> ItemPart:
        """`pcm`: 16-bit little-endian mono at the speech encoder's rate. The part has the transcript as its text."""
        encoder = await calls.describe("speech_encoder")
        longest = min(self._media.max_audio_seconds, encoder.max_audio_seconds)
        media = self._media.model_copy(update={"max_audio_seconds": longest})
        question = Question(True, encoder.input_sample_rate, media)
        _fill(question, pcm)
        context = CallContext(session_id, deadline_ms=streams.deadline_in(ENCODE_SECONDS))
        done = await encode_speech(question.audio, question.sample_rate, calls, _Sink(question), context)
        question.name_utterance()
        if question.utterance is None:
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, "the audio is too short to recognise anything in it")
        speech = question.speech()
        self.held.put(question.utterance, speech)
        self._writer.write(question.utterance, speech)
        await self._writer.wait()
        return ItemPart(kind="speech", ref=question.utterance, text=done.transcript or question.transcript)

    async def _keep(self, image: EncodedImage) -> ItemPart:
        """Also the file, so that another release can encode it again."""
        if image.tensor is not None:
            self.held.put(image.ref, image.tensor)
        self._originals.keep(image)
        await self._writer.wait()
        return ItemPart(kind="image", ref=image.ref)


def _fill(question: Question, pcm: bytes) -> None:
    """Second by second: services bound the size of a message."""
    step = 2 * question.sample_rate
    for start in range(0, len(pcm), step):
        question.add_audio(pcm[start : start + step])
    question.end()


class _Sink:
    """Gives a question its embeddings."""

    def __init__(self, question: Question):
        self._question = question

    def on_embeddings(self, embeddings: Tensor, weights: str) -> None:
        self._question.weights = weights
        self._question.embeddings.append(embeddings)

    def on_transcript(self, text: str) -> None:
        self._question.transcript = text
