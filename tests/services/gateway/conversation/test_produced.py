"""A task's products as a generator: all of them, its error after them, and its end when nobody reads any more."""

from __future__ import annotations

import asyncio

import pytest

from services.gateway.conversation.produced import produced


async def test_all_that_is_emitted_comes_and_then_the_error():
    async def produce(queue):
        for number in range(5):
            await queue.put(number)
        raise ValueError("over")

    got = []
    with pytest.raises(ValueError, match="over"):
        async for number in produced(produce, limit=2):
            got.append(number)
    assert got == [0, 1, 2, 3, 4]


async def test_a_reader_that_stops_ends_the_task_and_a_slow_one_makes_it_wait():
    emitted, ended = [], asyncio.Event()

    async def produce(queue):
        try:
            for number in range(100):
                await queue.put(number)
                emitted.append(number)
        finally:
            ended.set()

    products = produced(produce, limit=2)
    assert await anext(products) == 0
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(emitted) <= 4
    await products.aclose()
    assert ended.is_set()
