"""`POST /v1/realtime/client_secrets`: short-lived keys, for web pages that must not hold an API key."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import APIRouter, Request
from openai.types.realtime import ClientSecretCreateResponse
from openai.types.realtime.client_secret_create_params import ExpiresAfter
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from services.gateway.api.backend import Backend
from services.gateway.api.openai.errors import ApiError
from services.gateway.api.openai.names import VOICES
from services.gateway.api.openai.realtime.session import RealtimeSession, defaults

SECONDS = range(10, 7201)  # that a secret may live
DEFAULT_SECONDS = 600
MAX_BODY_BYTES = 64 << 10  # each secret keeps its session in Redis, and a key may have a thousand
FIELDS = {"session", "expires_after"}

_OBJECTS = {"realtime": "realtime.session", "transcription": "realtime.transcription_session"}
_EXPIRES_AFTER = TypeAdapter(ExpiresAfter)


def router(backend: Backend) -> APIRouter:
    routes = APIRouter()

    @routes.post("/v1/realtime/client_secrets", response_model_exclude_unset=True)
    async def create_client_secret(request: Request) -> ClientSecretCreateResponse:
        """A client secret: it opens Realtime sessions, which begin with these settings, until it expires."""
        params = read_params(await request.body())
        session = params.get("session", {"type": "realtime"})
        seconds = seconds_of(params.get("expires_after", {}))
        settled = await settle(backend, session)
        value, record = await backend.access.create_secret(request.state.caller, seconds, session)
        named = {"id": f"sess_{secrets.token_urlsafe(16)}", "object": _OBJECTS[settled["type"]]}
        return ClientSecretCreateResponse.construct(
            value=value, expires_at=record.expires_at, session=named | settled | {"expires_at": record.expires_at}
        )

    return routes


def read_params(body: bytes) -> dict[str, Any]:
    """Raises `ApiError` for what is too large, no JSON object, or has a field that is not known."""
    if len(body) > MAX_BODY_BYTES:
        raise ApiError(f"the body is above the limit of {MAX_BODY_BYTES} bytes", "too_large", status=413)
    try:
        params = from_json(body or b"{}", allow_inf_nan=False)  # it goes 200 deep
    except ValueError:
        raise ApiError("the body is not valid JSON, or is nested too deep", "invalid_json") from None
    if not isinstance(params, dict):
        raise ApiError("the body is no JSON object", "invalid_json")
    for name in sorted(params.keys() - FIELDS):
        raise ApiError(f"Unknown parameter: {name!r}.", "unknown_parameter", name)
    return params


def seconds_of(expires_after: Any) -> int:
    """Raises `ApiError` for a time that a secret cannot live."""
    try:
        seconds = _EXPIRES_AFTER.validate_python(expires_after, strict=True).get("seconds", DEFAULT_SECONDS)
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(["expires_after", *map(str, first["loc"])])
        raise ApiError(f"{param}: {first['msg']}", "invalid_value", param) from None
    if seconds not in SECONDS:
        message = f"expires_after.seconds is {seconds}; it must be {SECONDS.start} to {SECONDS[-1]}"
        raise ApiError(message, "invalid_value", "expires_after.seconds")
    return seconds


async def settle(backend: Backend, session: Any) -> dict[str, Any]:
    """The session that a connection would begin with. Raises `ApiError` for one that it would refuse."""
    decoder = await backend.releases.current.describe("speech_decoder")
    speakers = [speaker.name for speaker in decoder.speakers]
    initial = defaults(backend.models.served, "realtime", speakers[0] if speakers else VOICES[0])
    return RealtimeSession(backend.models, speakers, initial).merged(session)
