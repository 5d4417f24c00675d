"""Settings of a service whose forward pass may run in a Triton server."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.engine.settings import CompiledSettings


class BackendSettings(CompiledSettings):
    backend: Literal["local", "triton"] = Field(
        "local", description="Where the forward pass runs: in this process, or in a Triton server"
    )
    triton_url: str = Field("localhost:8001", description="Triton's gRPC address, host:port")
    triton_timeout_seconds: float = Field(10.0, gt=0, description="Longest time of a call to Triton, after the first")
    triton_start_seconds: float = Field(
        60.0,
        gt=0,
        description="How long a start waits until Triton serves this checkpoint's model, and for its first answer",
    )
