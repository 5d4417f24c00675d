"""The four services, and each as a Ray Serve application: `services.apps:vision` in a Serve file.

Names here are import paths; nothing of a service is loaded before its own replica starts.
"""

from __future__ import annotations

from services.common.serve import ServiceSpec, application

SPECS = {
    spec.application: spec
    for spec in (
        ServiceSpec(
            "vision",
            "parley.v1.VisionEncoder",
            "services.vision_encoder.service:VisionService",
            "services.vision_encoder.settings:VisionSettings",
            "protos.parley.v1.vision_pb2_grpc.add_VisionEncoderServicer_to_server",
        ),
        ServiceSpec(
            "speech",
            "parley.v1.SpeechEncoder",
            "services.speech_encoder.service:SpeechService",
            "services.speech_encoder.settings:SpeechSettings",
            "protos.parley.v1.speech_pb2_grpc.add_SpeechEncoderServicer_to_server",
        ),
        ServiceSpec(
            "language",
            "parley.v1.LanguageModel",
            "services.llm_core.service:LanguageService",
            "services.llm_core.settings:LanguageSettings",
            "protos.parley.v1.language_pb2_grpc.add_LanguageModelServicer_to_server",
        ),
        ServiceSpec(
            "voice",
            "parley.v1.SpeechDecoder",
            "services.speech_decoder.service:VoiceService",
            "services.speech_decoder.settings:VoiceSettings",
            "protos.parley.v1.voice_pb2_grpc.add_SpeechDecoderServicer_to_server",
        ),
    )
}

# What every Serve node must register on its gRPC server: the contracts, and the standard health service last.
GRPC_SERVICER_FUNCTIONS = [spec.add_to_server for spec in SPECS.values()] + ["services.common.health.register"]


def __getattr__(name: str):
    """`services.apps:vision` and the others, built when asked for, so that importing this module needs no Ray."""
    if name in SPECS:
        return application(SPECS[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
