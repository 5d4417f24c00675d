"""API keys and short-lived client keys: how they look, and what is kept of them.

`sk-<id>-<secret>` is an API key, `ek_<id>_<secret>` a short-lived one. The id, which is no secret, finds the record; of
the key itself only its SHA-256 is kept. The secret has 256 random bits, so a slow hash would add nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_FORM = re.compile(r"(?:sk-([0-9a-f]{16})-|ek_([0-9a-f]{16})_)[A-Za-z0-9_-]{43}", re.ASCII)


class KeyLimits(BaseModel):
    """What the holder of a key may use; 0: no limit."""

    model_config = ConfigDict(frozen=True)

    requests: int = Field(0, ge=0, description="A minute")
    sessions: int = Field(0, ge=0, description="Open at once, on all gateways together")
    audio_minutes: float = Field(0.0, ge=0, allow_inf_nan=False, description="In and out, a day (UTC)")


class ApiKey(BaseModel):
    """The record of a key."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    sha256: str  # hexadecimal, of the whole key
    created_at: int  # seconds since 1970
    limits: KeyLimits = KeyLimits()


class ClientSecret(BaseModel):
    """The record of a short-lived key. `key_id` empty: of a gateway that asked for no key."""

    model_config = ConfigDict(frozen=True)

    id: str
    key_id: str
    sha256: str
    expires_at: int  # seconds since 1970
    session: dict[str, Any]


def new_key(name: str, limits: KeyLimits) -> tuple[str, ApiKey]:
    """→ the key, which is shown once, and its record."""
    key_id = secrets.token_hex(8)
    key = f"sk-{key_id}-{secrets.token_urlsafe(32)}"
    return key, ApiKey(id=key_id, name=name, sha256=_sha256(key), created_at=int(time.time()), limits=limits)


def new_client_secret(key_id: str, seconds: int, session: dict[str, Any]) -> tuple[str, ClientSecret]:
    secret_id = secrets.token_hex(8)
    value = f"ek_{secret_id}_{secrets.token_urlsafe(32)}"
    expires_at = int(time.time()) + seconds
    record = ClientSecret(id=secret_id, key_id=key_id, sha256=_sha256(value), expires_at=expires_at, session=session)
    return value, record


def id_of(key: str) -> str:
    """The id that a key carries; empty for what cannot be a key."""
    form = _FORM.fullmatch(key)
    return "" if form is None else form[1] or form[2]


def is_short_lived(key: str) -> bool:
    return key.startswith("ek_")


def matches(record: ApiKey | ClientSecret, key: str) -> bool:
    """Takes as long for a wrong key as for the right one."""
    return hmac.compare_digest(record.sha256, _sha256(key))


def bearer(authorization: str) -> str:
    """The key of an `Authorization` header; empty where it has none."""
    scheme, _, key = authorization.strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
