"""The release pointer and the gateways' reports, in a real Valkey."""

import pytest
from redis import Redis

from services.gateway.settings import StoreSettings
from services.gateway.store.connection import connect
from services.gateway.store.releases import ReleaseStore
from services.release_pointer import GATEWAY_KEY, POINTER_KEY, GatewayReport, Pointer


@pytest.fixture
async def stores(redis_url):
    """Those of two gateways."""
    client = connect(redis_url, StoreSettings(redis_url=redis_url))
    await client.delete(POINTER_KEY)
    stores = ReleaseStore(client), ReleaseStore(client)
    yield stores
    for store in stores:
        await store.leave()
    await client.delete(POINTER_KEY)
    await client.aclose()


async def test_the_pointer_begins_once_and_is_read_with_each_report(stores, redis_url):
    here, there = stores
    assert await here.report(GatewayReport(slot="a", turns={"a": 2})) is None
    await here.begin(Pointer(slot="b"))
    await there.begin(Pointer(slot="a"))
    assert (await there.report(GatewayReport(slot="a"))).slot == "b"
    with Redis.from_url(redis_url) as redis:
        reports = [GatewayReport.model_validate_json(redis.get(here._key)), redis.get(there._key)]
        assert reports[0].turns == {"a": 2} and reports[1] is not None
        assert 0 < redis.pttl(here._key) <= 5000 and here._key.startswith(GATEWAY_KEY)
    await here.leave()
    with Redis.from_url(redis_url) as redis:
        assert redis.get(here._key) is None


async def test_a_damaged_pointer_is_a_value_error(stores, redis_url):
    with Redis.from_url(redis_url) as redis:
        redis.set(POINTER_KEY, "{}")
    with pytest.raises(ValueError, match="slot"):
        await stores[0].report(GatewayReport(slot="a"))
