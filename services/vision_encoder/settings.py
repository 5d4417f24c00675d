"""Settings of the vision encoder, read from the environment: PARLEY_VISION_ENCODER_<NAME>."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.engine.backend_settings import BackendSettings
from services.engine.settings import AUTO, AutoInt


class VisionEncoderSettings(BackendSettings):
    model_config = SettingsConfigDict(env_prefix="PARLEY_VISION_ENCODER_", extra="ignore")
    DEVICE_DEFAULTS: ClassVar = {"cpu": {"max_batch": 16}, "cuda": {"max_batch": 32}}

    max_batch: AutoInt = Field(AUTO, description="Tiles and frames in one engine step; auto: 16 on a CPU, 32 on a GPU")
    max_wait_ms: float = Field(2.0, ge=0, description="How long a step may wait for other requests' tiles")
    max_queued: int = Field(32, ge=1, description="Requests in progress at once; more get RESOURCE_EXHAUSTED")
    max_image_bytes: int = Field(20 << 20, ge=1, description="Bytes of one picture's file")
    max_video_bytes: int = Field(50 << 20, ge=1, description="Bytes of a video's file")
    max_pixels: int = Field(40_000_000, ge=1, description="Pixels of a picture or of a video's frame")
    max_frames: int = Field(64, ge=1, description="Frames in one request")
    decode_threads: int = Field(2, ge=1, description="Threads that decode pictures and video")
