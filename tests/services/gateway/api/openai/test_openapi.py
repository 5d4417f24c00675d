"""Our OpenAPI document describes what is served: requests made of it, valid and invalid ones, and what they get."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from redis.asyncio import Redis
from schemathesis.specs.openapi.checks import positive_data_acceptance

from services.gateway.access.keys import KeyLimits

OPERATIONS = {
    "POST /v1/realtime/client_secrets": 10,  # how many requests of each mode are made
    "GET /v1/models": 10,
    "GET /v1/models/{model}": 10,
    "POST /v1/chat/completions": 40,
    "POST /v1/audio/speech": 20,
    "POST /v1/audio/transcriptions": 30,
}
UNGUESSABLE = {"POST /v1/audio/speech", "POST /v1/audio/transcriptions"}  # the name of a voice, a sound file
DATABASE = 6  # with keys: elsewhere none are asked for
MODES = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
# Rules between several fields (audio needs its modality), and what a picture is, no schema says.
EXCLUDED = [positive_data_acceptance]


@pytest.fixture
async def guarded(make_gateway, redis_url):
    """A gateway that takes any model's name, and a key of it."""
    url = f"{redis_url}?db={DATABASE}"
    gateway = await make_gateway(api__model_aliases="*", access__keys="required", store__redis_url=url)
    yield gateway, await gateway.backend.access.keys.create("schemathesis", KeyLimits())
    async with Redis.from_url(url) as redis:
        await redis.flushdb()


def send(operation, mode: schemathesis.GenerationMode, key: str) -> Counter:
    """→ how often each status came."""
    statuses = Counter()

    @settings(
        max_examples=OPERATIONS[operation.label],
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case):
        response = case.call(headers={"Authorization": f"Bearer {key}"})
        statuses[response.status_code] += 1
        case.validate_response(response, excluded_checks=EXCLUDED)

    with contextlib.suppress(Unsatisfiable):  # nothing of it can be made invalid
        call()
    return statuses


def check(document: str, key: str) -> dict[str, Counter]:
    """→ for each operation how often each status came."""
    schema = schemathesis.openapi.from_url(document, headers={"Authorization": f"Bearer {key}"})
    operations = [result.ok() for result in schema.get_all_operations()]
    return {each.label: sum((send(each, mode, key) for mode in MODES), Counter()) for each in operations}


async def test_requests_made_of_the_document_get_what_it_says(guarded):
    gateway, key = guarded
    statuses = await asyncio.to_thread(check, f"http://127.0.0.1:{gateway.http_port}/v1/openapi.json", key)
    assert set(statuses) == set(OPERATIONS)
    served = {label for label, counted in statuses.items() if 200 in counted}
    assert set(OPERATIONS) - served <= UNGUESSABLE, statuses
    assert all(status < 500 for counted in statuses.values() for status in counted), statuses
