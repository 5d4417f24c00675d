"""What a key may use of the Realtime API."""

from __future__ import annotations

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from services.gateway.access.keys import KeyLimits

DATABASE = 11


@pytest.fixture
async def gateway(make_gateway, redis_url):
    gateway = await make_gateway(store__redis_url=f"{redis_url}?db={DATABASE}", access__cache_seconds=0)
    yield gateway
    await gateway.backend.access.usage._redis.flushdb()


async def headers_of(gateway, **limits) -> dict[str, str]:
    key = await gateway.backend.access.keys.create("test", KeyLimits(**limits))
    return {"Authorization": f"Bearer {key}"}


async def test_a_client_is_told_how_many_requests_are_left(gateway, open_realtime):
    client = await open_realtime(gateway, additional_headers=await headers_of(gateway, requests=50))
    await client.add("hello")
    came = await client.respond(max_output_tokens=4, output_modalities=["text"])
    limits = [event for event in [*came, *await client.quiet()] if event["type"] == "rate_limits.updated"]
    assert [each["name"] for each in limits[0]["rate_limits"]] == ["requests"]
    assert 0 < limits[0]["rate_limits"][0]["remaining"] < limits[0]["rate_limits"][0]["limit"] == 50


async def test_a_key_has_no_more_sessions_than_it_may(gateway, open_realtime):
    headers = await headers_of(gateway, sessions=1)
    await open_realtime(gateway, additional_headers=headers)
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"ws://127.0.0.1:{gateway.http_port}/v1/realtime", additional_headers=headers)
    assert caught.value.response.status_code == 429 and caught.value.response.headers["retry-after"]


async def test_audio_beyond_what_a_key_may_use_is_refused_and_the_session_goes_on(gateway, open_realtime, question_24k):
    headers = await headers_of(gateway, audio_minutes=0.01)
    client = await open_realtime(gateway, additional_headers=headers)
    await client.update(audio={"input": {"turn_detection": None}})
    await client.say(question_24k)
    error = (await client.until("error"))[-1]["error"]
    assert error["code"] == "rate_limit_exceeded"
    assert error["code"] not in ("insufficient_quota", "invalid_api_key")  # which clients do not try again after
