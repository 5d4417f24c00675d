"""What spoken answers of HTTP requests said, for a while: a later request may name one in place of its text."""

from __future__ import annotations

import json

from redis.asyncio import Redis

from services.gateway.store.connection import guarded

LIFE_SECONDS = 3600
MAX_CHARACTERS = 65_536  # of a transcript


class SpokenAnswers:
    def __init__(self, redis: Redis):
        self._redis = redis

    @guarded
    async def put(self, owner: str, answer_id: str, transcript: str) -> None:
        """`owner`: the caller's key; nobody else finds it."""
        record = json.dumps(transcript[:MAX_CHARACTERS], ensure_ascii=False)
        await self._redis.set(_key(owner, answer_id), record, ex=LIFE_SECONDS)

    @guarded
    async def get(self, owner: str, answer_id: str) -> str | None:
        """None where it is unknown or its time is over."""
        kept = await self._redis.get(_key(owner, answer_id))
        return None if kept is None else json.loads(kept)


def _key(owner: str, answer_id: str) -> str:
    return f"parley:spoken:{owner}:{answer_id}"
