"""What every service can be told through the environment.

A service's settings class derives from `ServiceSettings` with its own prefix. `PARLEY_<NAME>` sets a value for all
services, `PARLEY_<SERVICE>_<NAME>` for one of them: PARLEY_CHECKPOINT for all, PARLEY_LLM_CORE_DEVICE for the LLM core.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict


class ServiceSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PARLEY_", extra="ignore")

    checkpoint: Path = Field(Path("checkpoints/nano"), description="Folder of the checkpoint that is served")
    device: str = Field("cpu", description="Torch device of the engine, as `cpu` or `cuda:0`")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="Number format of the weights")
    threads: int = Field(1, ge=1, description="Torch threads of this service's engine")
    num_replicas: int = Field(1, ge=1, description="Processes that serve this service")
    max_streams: int = Field(256, ge=1, description="Calls a replica holds open at once; more get RESOURCE_EXHAUSTED")
    idle_seconds: float = Field(30.0, gt=0, description="Silence after which an open stream is ended")
    stop_seconds: float = Field(10.0, ge=0, description="Seconds that running work gets to end in a graceful stop")
    metrics_port: int = Field(0, ge=0, description="Port of the Prometheus page; 0: a free one")

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
