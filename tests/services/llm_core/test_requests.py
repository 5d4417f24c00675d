"""A generation request on its caller's loop."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from services.llm_core.pieces import EmbeddingRef
from services.llm_core.requests import GenerationRequest, Missing
from services.llm_core.sampler import Sampling
from services.llm_core.state import Decision


async def test_events_of_the_engine_are_counted_as_they_are_read():
    counted = []
    request = GenerationRequest(SimpleNamespace(has_read=counted.append), "", "t", None, Sampling())
    first, second = Missing((EmbeddingRef("w", "h", 1),)), Decision(0, (1.0, 0.0, 0.0))
    for event in (first, second, ValueError("no")):
        request.deliver(event)
    found = []
    with pytest.raises(ValueError, match="no"):
        async for event in request.events():
            found.append(event)
    assert found == [first, second] and counted == [request] and request.read == 1


async def test_requests_of_one_turn_replace_each_other_and_no_others_do():
    one, other = (GenerationRequest(SimpleNamespace(), "", "t", None, Sampling()) for _ in range(2))
    assert one.key != other.key
    keys = [GenerationRequest(SimpleNamespace(), "s", turn, None, Sampling()).key for turn in ("t", "t", "u")]
    assert keys[0] == keys[1] != keys[2]
