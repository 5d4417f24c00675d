"""`/v1/models` by the official client and against OpenAI's schema."""

from __future__ import annotations

import openai
import pytest


async def test_the_served_model_is_listed_and_found_by_its_aliases(client):
    assert [model.id async for model in client.models.list()] == ["parley"]
    for name in ("parley", "gpt-4o-mini-tts"):
        assert (await client.models.retrieve(name)).id == "parley"
    with pytest.raises(openai.NotFoundError, match="llama") as caught:
        await client.models.retrieve("org/llama")
    assert caught.value.code == "model_not_found"


async def test_they_are_what_openais_schemas_say(http, conforms):
    conforms((await http.get("/v1/models")).json(), "ListModelsResponse")
    conforms((await http.get("/v1/models/parley")).json(), "Model")
