"""Two small servicers over real contracts, which fail in every way a service may."""

import asyncio

import grpc

from protos.parley.v1 import speech_encoder_pb2, vision_encoder_pb2
from protos.parley.v1.speech_encoder_pb2_grpc import SpeechEncoderServicer
from protos.parley.v1.vision_encoder_pb2_grpc import VisionEncoderServicer
from services.engine.settings import ServiceSettings
from services.registry import Service
from services.rpc.decorator import rpc
from services.rpc.errors import ServiceError
from services.rpc.streams import read, within

TOKEN = "echo"  # that the services ask for, where one is set


class EchoSettings(ServiceSettings):
    pass


class EchoVision(VisionEncoderServicer):
    """Answers with the number of bytes; some pictures make it fail."""

    service = "echo_vision"

    def __init__(self, settings):
        self.settings = settings
        self.cancelled = 0

    async def start(self):
        self.started = True

    async def stop(self):
        self.started = False

    @rpc
    async def Encode(self, request, context):
        match request.image:
            case b"value":
                raise ValueError("this is not a picture")
            case b"bug":
                raise KeyError("/a/secret/path")
            case b"full":
                raise ServiceError.at_capacity("streams", 3, retry_after=0.5)
            case b"count":
                return vision_encoder_pb2.EncodeVisionResponse(pictures=self.cancelled)
            case b"exit":
                import os

                os._exit(1)
        try:
            async with within(request.deadline_ms):
                await asyncio.sleep(0.02 if request.image != b"slow" else 30)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return vision_encoder_pb2.EncodeVisionResponse(pictures=len(request.image))


class EchoSpeech(SpeechEncoderServicer):
    """Answers each audio message with its length."""

    service = "echo_speech"

    def __init__(self, settings):
        pass

    async def start(self):
        pass

    async def stop(self):
        pass

    @rpc
    async def Encode(self, request_iterator, context):
        sequence = 0
        async for kind, field in read(request_iterator, last="end", idle=1.0):
            if kind == "audio":
                if field == b"full":
                    raise ServiceError(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more", retry_after=2)
                chunk = speech_encoder_pb2.SpeechChunk(transcript=str(len(field)))
                yield speech_encoder_pb2.EncodeSpeechResponse(sequence=sequence, chunk=chunk)
                sequence += 1
        yield speech_encoder_pb2.EncodeSpeechResponse(
            sequence=sequence, done=speech_encoder_pb2.EncodeSpeechDone(length=sequence)
        )


VISION = Service(
    name="vision_encoder",
    contract="parley.v1.VisionEncoder",
    method="Encode",
    stubs="protos.parley.v1.vision_encoder_pb2_grpc",
    servicer="echo:EchoVision",
    settings="echo:EchoSettings",
    environment_prefix="PARLEY_ECHO_",
)
SPEECH = Service(
    name="speech_encoder",
    contract="parley.v1.SpeechEncoder",
    method="Encode",
    stubs="protos.parley.v1.speech_encoder_pb2_grpc",
    servicer="echo:EchoSpeech",
    settings="echo:EchoSettings",
    environment_prefix="PARLEY_ECHO_",
)
