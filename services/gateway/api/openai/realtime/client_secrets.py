"""`POST /v1/realtime/client_secrets`: short-lived keys, for web pages that must not hold an API key."""

from __future__ import annotations

import json
import secrets
from typing import Any

from fastapi import APIRouter, Request
from openai.types.realtime import ClientSecretCreateParams, ClientSecretCreateResponse
from pydantic import TypeAdapter, ValidationError

from services.gateway.api.backend import Backend
from services.gateway.api.openai.errors import ApiError

SECONDS = range(10, 7201)  # that a secret may live
DEFAULT_SECONDS = 600
MAX_BODY_BYTES = 256 << 10  # each secret keeps its session in Redis

_PARAMS = TypeAdapter(ClientSecretCreateParams)
_OBJECTS = {"realtime": "realtime.session", "transcription": "realtime.transcription_session"}


def router(backend: Backend) -> APIRouter:
    routes = APIRouter(max_body_size=MAX_BODY_BYTES)
    names = backend.models

    @routes.post("/v1/realtime/client_secrets", response_model_exclude_unset=True)
    async def create_client_secret(request: Request) -> ClientSecretCreateResponse:
        """A client secret: it opens Realtime sessions, which begin with these settings, until it expires."""
        params = read_params(await request.body())
        session = params.get("session", {"type": "realtime"})
        if "model" in session:
            names.resolve(session["model"])
        seconds = seconds_of(params.get("expires_after", {}))
        value, record = await backend.access.create_secret(request.state.caller, seconds, session)
        return ClientSecretCreateResponse.construct(
            value=value,
            expires_at=record.expires_at,
            session={"id": f"sess_{secrets.token_urlsafe(16)}", "object": _OBJECTS[session["type"]]} | session,
        )

    return routes


def read_params(body: bytes) -> dict[str, Any]:
    """Raises `ApiError` for what is no JSON, or has a field of another type than OpenAI's."""
    try:
        params = json.loads(body or b"{}")
        _PARAMS.validate_python(params)
    except ValidationError as error:
        first = min(error.errors(), key=lambda each: -len(each["loc"]))  # of the kind of session that fits best
        param = ".".join(str(part) for part in first["loc"] if not str(part).endswith("Param"))
        raise ApiError(f"{param or 'the body'}: {first['msg']}", "invalid_value", param or None) from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise ApiError(f"the body is no JSON: {reason}", "invalid_json") from None
    return params


def seconds_of(expires_after: dict[str, Any]) -> int:
    """Raises `ApiError` for a time that a secret cannot live."""
    seconds = expires_after.get("seconds", DEFAULT_SECONDS)
    if seconds not in SECONDS:
        message = f"expires_after.seconds is {seconds}; it must be {SECONDS.start} to {SECONDS[-1]}"
        raise ApiError(message, "invalid_value", "expires_after.seconds")
    return seconds
