"""Who may use this gateway, and how much of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Caller:
    """Who calls. `key_id` empty: this gateway asks for no key."""

    key_id: str = ""
    session: Mapping[str, Any] | None = None  # of a short-lived key: settings of every session that it opens


@dataclass(frozen=True)
class Limits:
    """Requests that the caller has left, for the rate-limit headers; None: there is no limit."""

    limit: int
    remaining: int
    reset_seconds: float


class Access:
    """One a process. Every method raises `ServiceError` for what is refused."""

    async def caller(self, key: str, origin: str = "") -> Caller:
        """`key` and `origin` as the client sent them, else empty. Raises UNAUTHENTICATED or PERMISSION_DENIED."""
        return Caller()

    async def request(self, caller: Caller) -> Limits | None:
        """Counts a request. Raises RESOURCE_EXHAUSTED, with the time after which to try again."""
        return None

    @contextlib.asynccontextmanager
    async def session(self, caller: Caller) -> AsyncIterator[None]:
        """Around a session of any wire: it counts among the caller's. Raises RESOURCE_EXHAUSTED."""
        yield

    async def audio(self, caller: Caller, seconds: float) -> None:
        """Counts seconds of audio, in or out. Raises RESOURCE_EXHAUSTED once they are used up."""
