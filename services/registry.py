"""The only table of services: their names, the modules that implement them, and how they are configured.

A service's name is its folder, its Serve application, the `application` metadata of its calls and its label in metrics
and logs. Classes are given as import paths, so that importing this table loads no service.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Service:
    """One service."""

    name: str
    contract: str  # full name of the gRPC service
    method: str  # the contract's method that does the work; `Describe` is in all of them
    stubs: str  # module that `protoc` generated
    servicer: str  # "module:Class"
    settings: str  # "module:Class"
    environment_prefix: str  # of its settings

    @property
    def stub(self) -> Any:
        """The client's class."""
        return getattr(importlib.import_module(self.stubs), f"{self.contract_name}Stub")

    @property
    def contract_name(self) -> str:
        return self.contract.rpartition(".")[2]

    @property
    def add_to_server(self) -> str:
        """Import path of the function that registers a servicer behind the check of the token."""
        return f"services.rpc.token_guard.{self.contract_name}"

    @property
    def generated_add_to_server(self) -> str:
        """Import path of what `protoc` made, which checks nothing."""
        return f"{self.stubs}.add_{self.contract_name}Servicer_to_server"

    def load_servicer(self) -> type:
        return import_path(self.servicer)

    def load_settings(self) -> Any:
        """The settings, read from the environment."""
        return import_path(self.settings)()


SERVICES = {
    service.name: service
    for service in (
        Service(
            name="vision_encoder",
            contract="parley.v1.VisionEncoder",
            method="Encode",
            stubs="protos.parley.v1.vision_encoder_pb2_grpc",
            servicer="services.vision_encoder.service:VisionEncoderService",
            settings="services.vision_encoder.settings:VisionEncoderSettings",
            environment_prefix="PARLEY_VISION_ENCODER_",
        ),
        Service(
            name="speech_encoder",
            contract="parley.v1.SpeechEncoder",
            method="Encode",
            stubs="protos.parley.v1.speech_encoder_pb2_grpc",
            servicer="services.speech_encoder.service:SpeechEncoderService",
            settings="services.speech_encoder.settings:SpeechEncoderSettings",
            environment_prefix="PARLEY_SPEECH_ENCODER_",
        ),
        Service(
            name="llm_core",
            contract="parley.v1.LanguageModel",
            method="Generate",
            stubs="protos.parley.v1.language_model_pb2_grpc",
            servicer="services.llm_core.service:LlmCoreService",
            settings="services.llm_core.settings:LlmCoreSettings",
            environment_prefix="PARLEY_LLM_CORE_",
        ),
        Service(
            name="speech_decoder",
            contract="parley.v1.SpeechDecoder",
            method="Synthesize",
            stubs="protos.parley.v1.speech_decoder_pb2_grpc",
            servicer="services.speech_decoder.service:SpeechDecoderService",
            settings="services.speech_decoder.settings:SpeechDecoderSettings",
            environment_prefix="PARLEY_SPEECH_DECODER_",
        ),
    )
}


def import_path(path: str) -> Any:
    """What is at "package.module:Name" or "package.module.name"."""
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    return getattr(importlib.import_module(module), name)
