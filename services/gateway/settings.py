"""Settings of the gateway: one class for each object that reads them.

From the environment as PARLEY_GATEWAY_<GROUP>_<NAME>, for example PARLEY_GATEWAY_VAD_END_SECONDS=0.4.
"""

from __future__ import annotations

import os
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.registry import SERVICES
from services.rpc.streams import HEARTBEAT_SECONDS


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ServerSettings(Group):
    host: str = Field("127.0.0.1", description="Address that the gRPC and HTTP servers listen on")
    port: int = Field(50051, ge=0, description="gRPC port; 0: a free one")
    http_port: int = Field(8080, ge=0, description="Port of the OpenAI API, the page and the metrics; 0: a free one")
    max_connections: int = Field(128, ge=1, description="Client streams at once; more get RESOURCE_EXHAUSTED")
    max_held_mb: int = Field(
        1024, ge=1, description="MiB of pictures, audio and request bodies that are held for all clients"
    )
    max_held_mb_each: int = Field(64, ge=1, description="The same for one connection or request")
    open_seconds: float = Field(10.0, gt=0, description="Time that a new stream has to send `open`")
    idle_seconds: float = Field(300.0, gt=0, description="A stream on which nothing happens for this long is ended")
    connection_seconds: float = Field(4 * 3600, gt=0, description="A stream is ended after this long in any case")
    realtime_seconds: float = Field(3600.0, gt=0, description="Longest session of the Realtime API")
    drain_seconds: float = Field(15.0, ge=0, description="Time that running turns have to end when the gateway stops")
    published_host: str = Field(
        "", description="Address under which others reach this server, where `host` does not say it: in a container"
    )
    tls_certificate: str = Field(
        "", description="PEM file of the certificate, for HTTP, WebSocket and gRPC; empty: no TLS"
    )
    tls_key: str = Field("", description="PEM file of the certificate's private key")
    insecure: bool = Field(
        False, description="Listen where other machines reach it without TLS, and without keys until one is created"
    )


class AccessSettings(Group):
    keys: Literal["auto", "required", "off"] = Field(
        "auto",
        description="Whether requests need an API key: `auto` once one was created, and wherever other machines reach "
        "the gateway",
    )
    origins: str = Field(
        "",
        description="Web pages that may use this gateway, as https://host[:port] between commas; `*`: any; its own may",
    )
    cache_seconds: float = Field(2.0, ge=0, description="A key counts as valid for this long after it was looked up")
    session_lease_seconds: float = Field(
        10.0, gt=0, description="Sessions of a gateway that was killed count among those of their key for this long"
    )
    client_secrets: int = Field(1000, ge=1, description="Client secrets of one key that have not expired")


class AdmissionSettings(Group):
    seconds: float = Field(6.0, gt=0, description="Answers that were late within this time keep others out")
    late_share: float = Field(
        0.1, gt=0, le=1, description="Nobody new comes in while more answers than this share are late; 1: never so"
    )
    real_time_factor: float = Field(
        0.8,
        ge=0,
        description="Nobody new comes in while a service takes longer than this for each second of speech (p95); "
        "0: however long",
    )
    queue_seconds: float = Field(
        0.5,
        ge=0,
        description="Nobody new comes in while work waits longer than this for a service (p95); 0: however long",
    )
    always: int = Field(2, ge=0, description="Sessions inside up to which none of these keeps anybody out")
    growth: float = Field(
        0.5,
        ge=0,
        description="Beyond a quarter of the LLM core's slots, sessions may become more by this share within "
        "`growth_seconds` where nothing is near its limit, and by less the nearer it is; 0: they may at any rate",
    )
    growth_seconds: float = Field(10.0, gt=0, description="The load of a session is taken to show after this long")
    lesson_seconds: float = Field(
        60.0, ge=0, description="So many sessions as were too many are not let in again for this long"
    )
    retry_seconds: float = Field(4.0, gt=0, description="When who was not let in is told to come again")


class ApiSettings(Group):
    model: str = Field(
        "parley", min_length=1, description="Name of the served model, as clients of the OpenAI API see it"
    )
    model_aliases: str = Field(
        "gpt-*,tts-*,whisper-*",
        description="Names (with * and ?, between commas) that mean the served model too; other names are refused",
    )
    max_requests: int = Field(64, ge=1, description="HTTP requests under /v1 at once; more get 429")
    max_body_bytes: int = Field(32 << 20, ge=1, description="Largest body of an HTTP request; more get 413")
    remote_media: bool = Field(
        False, description="Fetch pictures and videos that a request names by http(s) URL, from public addresses only"
    )
    max_transcription_seconds: float = Field(1800.0, gt=0, description="Longest sound file that is transcribed")


class StoreSettings(Group):
    redis_url: str = Field(
        default_factory=lambda: os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
        description="Redis of the sessions; its policy must be `noeviction`. Default: REDIS_URL",
    )
    embeddings_url: str = Field("", description="Redis of the embeddings; empty: that of the sessions")
    embeddings_mb: int = Field(256, ge=1, description="MiB of embeddings kept; the least recently used go first")
    timeout_seconds: float = Field(2.0, gt=0, description="Time that a call to Redis may take")
    recovery_seconds: float = Field(
        10.0, ge=0, description="A call is tried again for this long while the Redis of the sessions cannot be reached"
    )
    session_seconds: float = Field(3600, gt=0, description="A session is deleted this long after its last use")
    max_config_bytes: int = Field(
        256 << 10, ge=1, description="Largest configuration of a session, as JSON, with what a client adds to it"
    )
    max_redis_mb: int = Field(
        1024, ge=1, description="MiB in the sessions' Redis, or 0.9 of its `maxmemory`, that keep new sessions out"
    )
    max_items: int = Field(64, ge=0, description="Newest items of a session that are kept")
    lease_seconds: float = Field(5.0, gt=0, description="Life of a turn's lease; another gateway takes over after it")
    resume_seconds: float = Field(30.0, gt=0, description="Events sent to a client are kept for this long")


class ConversationSettings(Group):
    history_share: float = Field(
        0.5, gt=0, lt=1, description="Share of the model's context that the history of a session may take"
    )
    max_turn_seconds: float = Field(180.0, gt=0, description="A turn may last this long, question and answer")
    question_idle_seconds: float = Field(
        20.0, gt=0, description="A spoken question is given up when no audio comes for this long"
    )
    max_text_chars: int = Field(4000, ge=1, description="Longest written question, and longest instructions")
    max_tools: int = Field(128, ge=0, description="Functions that answers may call")
    max_tool_chars: int = Field(
        16_000, ge=0, description="Characters of the tools' names, descriptions and parameters, together"
    )
    max_pictures: int = Field(4, ge=1, description="Pictures and videos in one question")
    max_frames: int = Field(4, ge=1, description="Newest camera frames that belong to a question")
    max_turn_events: int = Field(10_000, ge=1, description="Client events between the ends of two turns")
    max_unread_events: int = Field(256, ge=1, description="Events waiting for a slow client before the turn waits too")
    interruption: Literal["state", "voice", "never"] = Field(
        "state",
        description="What ends an answer: any `voice` at once; speech whose `state` is a question, the answer being "
        "held until that is known; or `never`. Clients may choose",
    )
    early_answers: int = Field(
        8, ge=0, description="Answers computed at once before it is sure that their questions have ended; 0: none"
    )
    hold_seconds: float = Field(
        4.0, gt=0, description="An answer is held at most this long while it is not known whether speech interrupts it"
    )
    playback_report_seconds: float = Field(
        0.3, ge=0, description="Wait, after an interruption, for the client to say how far it had played"
    )


class MediaSettings(Group):
    max_audio_seconds: float = Field(60.0, gt=0, description="Longest spoken question")
    min_audio_seconds: float = Field(0.1, ge=0, description="Shortest spoken question")
    max_chunk_seconds: float = Field(1.0, gt=0, description="Longest audio event")
    max_audio_rate: float = Field(
        1.5, gt=1, description="Seconds of audio that are taken of a client in a second; what comes faster waits"
    )
    audio_burst_seconds: float = Field(30.0, ge=1, description="Audio that a client may send at once")
    max_image_bytes: int = Field(10 << 20, ge=1, description="Largest picture file")
    max_image_pixels: int = Field(40_000_000, ge=1, description="Largest picture, width × height, by its header")
    max_video_bytes: int = Field(32 << 20, ge=1, description="Largest video file")


class VadSettings(Group):
    start: float = Field(0.5, gt=0, lt=1, description="Probability of speech above which speech may start")
    end: float = Field(0.35, gt=0, lt=1, description="Probability of speech below which it may end")
    start_seconds: float = Field(0.096, gt=0, description="Speech this long starts a question")
    maybe_seconds: float = Field(0.064, gt=0, description="Speech this long holds an answer back")
    barge_in_seconds: float = Field(0.256, gt=0, description="Speech this long interrupts an answer")
    pause_seconds: float = Field(
        0.064, gt=0, description="Silence this long may end a question: its answer is computed, and given at the end"
    )
    complete_seconds: float = Field(0.16, gt=0, description="Silence this long ends a question that is surely complete")
    end_seconds: float = Field(
        0.55,
        gt=0,
        description="Silence this long ends a question of which the model does not tell whether it is complete",
    )
    unfinished_seconds: float = Field(
        1.4, gt=0, description="Silence this long ends a question that is surely not complete"
    )
    inner_pause_seconds: float = Field(
        0.2,
        gt=0,
        description="Mean length of pauses inside questions: the wait grows by it when the odds that a question is "
        "complete fall to 1/e",
    )
    cut_off_seconds: float = Field(
        30.0, gt=0, description="What cutting a user off costs, in seconds of waiting after a complete question"
    )
    preroll_seconds: float = Field(0.3, ge=0, description="Audio before the start that belongs to the question")


class UpstreamSettings(Group):
    addresses: str = Field(
        default_factory=lambda: os.environ.get("PARLEY_SERVICES", "127.0.0.1:9000"),
        description="host:port[,host:port] of the proxies that serve all four services. Default: PARLEY_SERVICES",
    )
    vision_encoder: str = Field("", description="host:port[,host:port] of this service alone; empty: as `addresses`")
    speech_encoder: str = Field("", description="the same for the speech encoder")
    llm_core: str = Field("", description="the same for the LLM core")
    speech_decoder: str = Field("", description="the same for the speech decoder")
    probe_seconds: float = Field(1.5, gt=0, description="Time that Redis and each service have to answer a probe")
    describe_seconds: float = Field(
        2.0, gt=0, description="A service is asked again what it runs, and how full it is, after this long"
    )
    silence_seconds: float = Field(
        3.0,
        gt=HEARTBEAT_SECONDS,
        description="A service from whose stream not even a heartbeat has come for this long counts as lost",
    )
    stall_seconds: float = Field(
        10.0, gt=0, description="A service that owes an answer and gives none for this long counts as lost"
    )
    hedging_seconds: float = Field(
        2.0,
        gt=0,
        description="A picture that is not encoded after this long is sent a second time; the first answer counts",
    )
    recovery_seconds: float = Field(30.0, gt=0, description="A lost call is tried again for this long")
    channels: int = Field(2, ge=1, description="Connections to each address; a proxy takes 100 streams on one")

    @field_validator("addresses", *SERVICES)
    @classmethod
    def _check_addresses(cls, value: str) -> str:
        for address in filter(None, value.split(",")):
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdigit():
                raise ValueError(f"{address!r} is no address; write host:port[,host:port]")
        return value

    def addresses_of(self, service: str) -> list[str]:
        """Addresses of a service, by its name in the registry."""
        value = getattr(self, service) or self.addresses
        return [address.strip() for address in value.split(",") if address.strip()]


class GatewaySettings(BaseSettings):
    """All groups. An object is given the group that it reads, never the whole."""

    model_config = SettingsConfigDict(
        env_prefix="PARLEY_GATEWAY_", env_nested_delimiter="_", env_nested_max_split=1, extra="ignore"
    )

    server: ServerSettings = Field(default_factory=ServerSettings)
    admission: AdmissionSettings = Field(default_factory=AdmissionSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    access: AccessSettings = Field(default_factory=AccessSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    conversation: ConversationSettings = Field(default_factory=ConversationSettings)
    media: MediaSettings = Field(default_factory=MediaSettings)
    vad: VadSettings = Field(default_factory=VadSettings)
    upstream: UpstreamSettings = Field(default_factory=UpstreamSettings)
