"""What the gateway can be told through the environment: limits, times, and the addresses of what it talks to."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SERVICES = ("vision", "speech", "language", "voice")  # as metadata `application` names them


class GatewaySettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PARLEY_GATEWAY_", extra="ignore", populate_by_name=True)

    # Where things are.
    host: str = Field("127.0.0.1", description="Address that the gRPC and HTTP servers listen on")
    port: int = Field(50051, ge=0, description="gRPC port; 0: a free one")
    http_port: int = Field(8080, ge=0, description="Port of /healthz, /readyz and /metrics; 0: a free one")
    services: str = Field(
        "127.0.0.1:9000",
        validation_alias=AliasChoices("PARLEY_SERVICES", "PARLEY_GATEWAY_SERVICES"),
        description="host:port[,host:port] of the proxies that serve all four services",
    )
    vision: str = Field("", description="host:port[,host:port] of the vision encoder alone; empty: as `services`")
    speech: str = Field("", description="the same for the speech encoder")
    language: str = Field("", description="the same for the LLM core")
    voice: str = Field("", description="the same for the speech decoder")
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        validation_alias=AliasChoices("PARLEY_REDIS_URL", "REDIS_URL"),
        description="Redis that holds the sessions",
    )

    # Sessions.
    session_seconds: float = Field(3600, gt=0, description="A session is forgotten this long after its last use")
    history_messages: int = Field(
        16, ge=0, description="Newest messages of a session that are kept and given to the LLM"
    )
    history_tokens: int = Field(
        500,
        ge=0,
        description="Tokens and vectors of history given to the LLM, counted roughly; older messages stay out",
    )
    lease_seconds: float = Field(
        5.0, gt=0, description="A turn's lease; another gateway takes over once it has run out"
    )
    redis_timeout: float = Field(2.0, gt=0, description="Seconds a call to Redis may take")

    # Limits of one conversation.
    max_conversations: int = Field(128, ge=1, description="Client streams at once; more get RESOURCE_EXHAUSTED")
    configure_seconds: float = Field(10.0, gt=0, description="Time a new stream has to send `configure`")
    idle_seconds: float = Field(300.0, gt=0, description="A stream on which nothing happens this long is ended")
    conversation_seconds: float = Field(4 * 3600, gt=0, description="A stream is ended after this long in any case")
    turn_seconds: float = Field(180.0, gt=0, description="A turn may last this long, question and answer")
    question_idle_seconds: float = Field(
        20.0, gt=0, description="A spoken question of which nothing more comes is given up"
    )
    max_audio_seconds: float = Field(60.0, gt=0, description="Longest spoken question")
    min_audio_seconds: float = Field(0.1, ge=0, description="Shortest spoken question")
    max_chunk_seconds: float = Field(1.0, gt=0, description="Longest audio event")
    max_text_chars: int = Field(4000, ge=1, description="Longest written question, and longest instructions")
    max_image_bytes: int = Field(10 << 20, ge=1, description="Largest picture file")
    max_video_bytes: int = Field(32 << 20, ge=1, description="Largest video file")
    max_pictures: int = Field(4, ge=1, description="Pictures and videos in one question")
    max_frames: int = Field(4, ge=1, description="Newest camera frames that belong to a question")
    max_turn_events: int = Field(10_000, ge=1, description="Client events between the ends of two turns")

    # Voice activity.
    vad_start: float = Field(0.5, gt=0, lt=1, description="Probability of speech above which speech may start")
    vad_end: float = Field(0.35, gt=0, lt=1, description="Probability of speech below which it may end")
    vad_start_seconds: float = Field(0.096, gt=0, description="Speech this long starts a question")
    interruption: Literal["state", "voice"] = Field(
        "state",
        description="What ends an answer: any `voice` at once; or speech whose `state` is a question, the answer being "
        "held until that is known",
    )
    barge_in_seconds: float = Field(0.256, gt=0, description="Speech this long interrupts an answer")
    vad_end_seconds: float = Field(0.55, gt=0, description="Silence this long ends a question")
    vad_preroll_seconds: float = Field(0.3, ge=0, description="Audio before the start that belongs to the question")

    # Answers.
    output_sample_rate: int = Field(24_000, gt=0, description="Hz of the audio that the speech decoder sends")
    played_grace_seconds: float = Field(
        0.3, ge=0, description="Wait, after an interruption, for the client to say how far it had played"
    )
    outbox_events: int = Field(256, ge=1, description="Events waiting for a slow client before the turn waits too")

    # Calls to the services.
    probe_seconds: float = Field(1.5, gt=0, description="Time that Redis and each service have to answer a probe")
    stall_seconds: float = Field(
        10.0, gt=0, description="A service that owes an answer and is silent this long is lost"
    )
    recovery_seconds: float = Field(30.0, gt=0, description="A lost call is tried again for this long")
    channels: int = Field(2, ge=1, description="Connections to each address; a proxy takes 100 streams on one")
    drain_seconds: float = Field(15.0, ge=0, description="Time that running turns have to end when the gateway stops")

    @field_validator("services", "vision", "speech", "language", "voice")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for address in filter(None, value.split(",")):
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdigit():
                raise ValueError(f"{address!r} is no address; write host:port[,host:port]")
        return value

    def addresses(self, service: str) -> list[str]:
        """Of `service`, one of `SERVICES`."""
        value = getattr(self, service) or self.services
        return [address.strip() for address in value.split(",") if address.strip()]
