"""Access over a real Valkey, in a database of its own: elsewhere no keys are asked for."""

from __future__ import annotations

import contextlib

import pytest

from services.gateway.access.access import Access
from services.gateway.settings import AccessSettings, ServerSettings, StoreSettings
from services.gateway.store.connection import connect

DATABASE = 7


@pytest.fixture
async def access_url(redis_url):
    """Of an empty database."""
    url = f"{redis_url}?db={DATABASE}"
    redis = connect(url, StoreSettings())
    await redis.flushdb()
    yield url
    await redis.flushdb()
    await redis.aclose()


@pytest.fixture
async def make_access(access_url):
    """Makes the access of one gateway after the other: `make_access(keys="required")`."""
    async with contextlib.AsyncExitStack() as stack:

        def make(server: ServerSettings | None = None, **settings) -> Access:
            access = Access(
                AccessSettings(**{"cache_seconds": 0, **settings}),
                server or ServerSettings(),
                connect(access_url, StoreSettings()),
            )
            stack.push_async_callback(access.close)
            return access

        yield make
