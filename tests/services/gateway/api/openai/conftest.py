"""A gateway before the real services, and clients of its HTTP API: the official one, and one that sends anything."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import openai
import pytest

SCHEMAS = Path(__file__).parents[4] / "fixtures" / "openai" / "http.json"


@pytest.fixture
async def gateway(make_gateway):
    return await make_gateway()


@pytest.fixture
async def client(gateway):
    url = f"http://127.0.0.1:{gateway.http_port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def http(gateway):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http_port}", timeout=30) as http:
        yield http


@pytest.fixture(scope="session")
def conforms():
    """`conforms(answer, "CompletionUsage")`: raises where an answer is not what OpenAI's own schema says."""
    from jsonschema import Draft202012Validator

    document = json.loads(SCHEMAS.read_text())

    def check(answer, schema: str) -> None:
        reference = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
        Draft202012Validator(reference).validate(answer)

    return check
