"""Ids that open something are random, and too long to guess."""

from __future__ import annotations

import math

from services.gateway.access.keys import KeyLimits, new_client_secret, new_key
from services.gateway.events.session import SessionConfig
from services.gateway.settings import StoreSettings
from services.gateway.store.store import RedisStore

MANY = 500


def bits(ids: list[str]) -> float:
    """At most what the ids hold: at each place, of the characters that were seen there."""
    assert len(set(ids)) == len(ids) and len({len(each) for each in ids}) == 1
    return sum(math.log2(len(set(places))) for places in zip(*ids, strict=True))


async def test_ids_are_random_and_long(redis_url):
    store = RedisStore(StoreSettings(redis_url=redis_url))
    assert bits([(await store.sessions.create(SessionConfig())).id for _ in range(MANY)]) > 127
    await store.close()
    assert bits([new_key("x", KeyLimits())[0].split("-", 2)[2] for _ in range(MANY)]) > 255
    assert bits([new_client_secret("x", 60, {})[0].split("_", 2)[2] for _ in range(MANY)]) > 255
    assert bits([new_key("x", KeyLimits())[1].id for _ in range(MANY)]) > 63
