"""Settings that all services share, read from the environment.

A service's settings class derives from `ServiceSettings` with its own prefix. `PARLEY_<NAME>` sets a value for all
services, `PARLEY_<SERVICE>_<NAME>` for one of them: PARLEY_CHECKPOINT for all, PARLEY_LLM_CORE_DEVICE for the LLM core.
What is `auto` follows the device and the model: `services.engine.device.resolve` replaces it when the service starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

AUTO: Literal["auto"] = "auto"
AutoInt = Annotated[int, Field(ge=1)] | Literal["auto"]


class ServiceSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PARLEY_", extra="ignore")

    # Values of settings that are `auto`, on a CPU and on a GPU.
    DEVICE_DEFAULTS: ClassVar[Mapping[str, Mapping[str, int]]] = {"cpu": {}, "cuda": {}}

    checkpoint: Path = Field(Path("checkpoints/nano"), description="Folder of the checkpoint that is served")
    device: str = Field(AUTO, description="Torch device of the engine, as `cpu` or `cuda:0`; auto: the GPU if any")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        AUTO, description="Number format of the weights; auto: bfloat16 where it is faster and the model above nano"
    )
    threads: AutoInt = Field(
        AUTO, description="Torch threads of the engine; auto: 1, or half the cores for a model above nano on a CPU"
    )
    num_replicas: int = Field(1, ge=1, description="Processes that serve this service")
    max_replicas: int = Field(
        0, ge=0, description="Processes at high load: above num_replicas, replicas are added and removed; 0: never"
    )
    scale_up_seconds: float = Field(10.0, ge=0, description="Too much load this long adds replicas")
    scale_down_seconds: float = Field(300.0, ge=0, description="Little load this long removes replicas")
    scale_real_time_factor: float = Field(
        0.8, gt=0, description="Real-time factor above which replicas are added; above three quarters none is removed"
    )
    max_streams: int = Field(256, ge=1, description="Calls a replica holds open at once; more get RESOURCE_EXHAUSTED")
    idle_seconds: float = Field(30.0, gt=0, description="Silence after which an open stream is ended")
    stop_seconds: float = Field(10.0, ge=0, description="Seconds that running work gets to end in a graceful stop")
    metrics_host: str = Field("127.0.0.1", description="Address that the Prometheus page listens on")
    metrics_port: int = Field(
        0, ge=0, description="Port of the Prometheus page; a second replica on a node has the next one; 0: a free one"
    )

    @model_validator(mode="after")
    def _check_replicas(self) -> ServiceSettings:
        if self.max_replicas and self.max_replicas < self.num_replicas:
            raise ValueError(f"max_replicas ({self.max_replicas}) is below num_replicas ({self.num_replicas})")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, EnvSettingsSource(settings_cls, env_prefix="PARLEY_")


class CompiledSettings(ServiceSettings):
    """Of a service whose networks may be compiled."""

    runtime: Literal["auto", "torch", "onnxruntime"] = Field(
        AUTO, description="What runs the networks; auto: ONNX Runtime on a CPU in float32, for sizes that have graphs"
    )
    graphs: Path | None = Field(
        None, description="Folder of ONNX graphs that `parley export graphs` wrote; none: those that come with Parley"
    )
