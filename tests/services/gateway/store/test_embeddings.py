"""Embeddings: found by every gateway, within one budget of bytes, the least recently used removed first."""

from __future__ import annotations

import asyncio
import hashlib
import random

import pytest

from services.gateway.events.items import Ref
from services.gateway.store import embeddings
from services.telemetry import metrics

MIB = 1 << 20


def ref(name: str, weights: str = "nano") -> Ref:
    return Ref(weights=weights, hash=hashlib.sha256(name.encode()).hexdigest(), length=1)


async def data_bytes(redis) -> int:
    """What the embeddings take of the memory of Redis."""
    sizes = [await redis.memory_usage(name, samples=0) for name in await redis.keys("parley:{embeddings}:data:*")]
    return sum(filter(None, sizes))  # None: removed meanwhile


async def total(redis) -> int:
    return int(await redis.get("parley:{embeddings}:total"))


async def kept(store, *names: str) -> set[str]:
    found = await store.embeddings.get(map(ref, names))
    return {name for name in names if ref(name) in found}


async def test_kept_embeddings_are_found_by_their_content(make_store):
    store = make_store()
    wanted = ref("a").model_copy(update={"length": 256})
    assert await store.embeddings.find(wanted.weights, wanted.hash) is None
    await store.embeddings.put(wanted, b"one")
    assert await make_store().embeddings.find(wanted.weights, wanted.hash) == wanted
    assert await store.embeddings.find("others", wanted.hash) is None


async def test_what_one_gateway_keeps_another_finds_for_the_same_weights_only(make_store):
    here, there = make_store(), make_store()
    assert await here.embeddings.put(ref("a"), b"one")
    assert await here.embeddings.put(ref("b"), b"two")
    wanted = [ref("a"), ref("b"), ref("a"), ref("c"), ref("a", "other")]
    assert await there.embeddings.get(wanted) == {ref("a"): b"one", ref("b"): b"two"}
    assert await there.embeddings.get([]) == {}


async def test_the_least_recently_used_go_first(make_store):
    store = make_store(embeddings_mb=1)
    part = bytes(300_000)
    for name in "abc":
        assert await store.embeddings.put(ref(name), part)
    assert await kept(store, "a") == {"a"}
    assert await store.embeddings.put(ref("d"), part)
    assert await kept(store, *"abcd") == set("acd")
    assert await store.embeddings.put(ref("a"), part)  # again: it takes its place once
    assert await kept(store, *"abcd") == set("acd")


async def test_the_budget_holds_while_two_gateways_put_at_once(make_store, redis):
    stores = [make_store(embeddings_mb=2), make_store(embeddings_mb=2)]

    async def put_many(number: int) -> None:
        for count in range(40):
            name = f"{count % 25} of {number if count % 2 else 'both'}"
            await stores[number].embeddings.put(ref(name), bytes(20_000 * (count % 13 + 1)))
            assert max(await total(redis), await data_bytes(redis)) <= 2 * MIB

    await asyncio.gather(put_many(0), put_many(1))
    assert MIB < await total(redis) == await data_bytes(redis)
    listed = set(await redis.zrange("parley:{embeddings}:uses", 0, -1))
    assert listed == set(await redis.hkeys("parley:{embeddings}:sizes"))
    assert len(listed) == len(await redis.keys("parley:{embeddings}:data:*"))


@pytest.mark.parametrize("size", [MIB, MIB + 1])  # with its key, the first is too large as well
async def test_one_above_the_budget_is_not_kept(make_store, redis, size):
    store = make_store(embeddings_mb=1)
    assert not await store.embeddings.put(ref("large"), bytes(size))
    assert await kept(store, "large") == set() and await data_bytes(redis) == 0
    assert await store.embeddings.put(ref("small"), bytes(500_000))


async def test_what_is_not_used_expires_and_is_no_longer_counted(make_store, redis):
    store = make_store(session_seconds=0.5)
    for name in "ab":
        await store.embeddings.put(ref(name), bytes(1000))
    for _ in range(2):
        await asyncio.sleep(0.3)
        assert await kept(store, "a") == {"a"}
    assert await kept(store, "b") == set()
    await store.embeddings.put(ref("c"), bytes(1000))
    assert await total(redis) == await data_bytes(redis)
    await asyncio.sleep(0.6)
    assert await redis.keys("parley:{embeddings}:*") == []


@pytest.mark.parametrize("lost", ["uses", "sizes", "total"])
async def test_an_index_that_lost_a_part_is_begun_anew(make_store, redis, lost):
    store = make_store(embeddings_mb=1)
    await store.embeddings.put(ref("a"), bytes(600_000))
    await redis.delete(f"parley:{{embeddings}}:{lost}")
    assert await kept(store, "a") == set()
    assert await store.embeddings.put(ref("b"), bytes(600_000))
    assert await kept(store, "b") == {"b"}
    assert await total(redis) == await data_bytes(redis)


async def test_what_redis_has_no_memory_for_is_not_kept(make_store, redis):
    store = make_store()
    await store.embeddings.put(ref("a"), b"one")
    failures = metrics.STORE_ERRORS.labels("EmbeddingStore.put")
    before, limit = failures._value.get(), (await redis.config_get("maxmemory"))["maxmemory"]
    await redis.config_set("maxmemory", 1)
    try:
        assert not await store.embeddings.put(ref("b"), b"two")
        assert await kept(store, *"abz") == {"a"}
    finally:
        await redis.config_set("maxmemory", limit)
    assert failures._value.get() == before + 1
    assert await store.embeddings.put(ref("b"), b"two") and await kept(store, *"ab") == set("ab")


async def test_one_for_which_the_memory_of_redis_does_not_suffice_leaves_nothing_behind(make_store, redis):
    limit = (await redis.config_get("maxmemory"))["maxmemory"]
    store = make_store()
    await redis.config_set("maxmemory", (await redis.info("memory"))["used_memory"] + 8 * MIB)
    try:
        assert not await store.embeddings.put(ref("a"), bytes(24 * MIB))
        assert await data_bytes(redis) == 0
        assert await store.embeddings.put(ref("b"), bytes(MIB))
    finally:
        await redis.config_set("maxmemory", limit)
    assert await kept(store, *"ab") == {"b"}


async def test_data_of_many_pieces_come_back_whole(make_store):
    store = make_store()
    for size in (1, embeddings.PIECE - 1, embeddings.PIECE, embeddings.PIECE + 1, 3 * embeddings.PIECE):
        data = random.Random(size).randbytes(size)
        assert await store.embeddings.put(ref("a"), data)
        assert (await store.embeddings.get([ref("a")]))[ref("a")] == data


async def test_the_same_data_from_two_gateways_at_once_are_kept_once(make_store, redis):
    here, there = make_store(), make_store()
    data = random.Random(0).randbytes(5 * embeddings.PIECE)
    assert await asyncio.gather(*[store.embeddings.put(ref("a"), data) for store in (here, there)]) == [True, True]
    assert await here.embeddings.get([ref("a")]) == {ref("a"): data}
    assert await total(redis) == await data_bytes(redis) < 1.1 * len(data)


async def test_a_piece_that_is_sent_twice_is_kept_once(make_store, monkeypatch):
    store = make_store()
    push = store.embeddings._push

    async def push_twice(*args):  # as the client library does after a lost reply
        if args[1][-1].startswith("upload"):
            await push(*args)
        return await push(*args)

    monkeypatch.setattr(store.embeddings, "_push", push_twice)
    data = random.Random(0).randbytes(2 * embeddings.PIECE + 5)
    assert await store.embeddings.put(ref("a"), data)
    assert await store.embeddings.get([ref("a")]) == {ref("a"): data}


async def test_an_upload_that_ends_half_way_is_not_found_but_counted(make_store, redis, monkeypatch):
    dying, store = make_store(embeddings_mb=4), make_store(embeddings_mb=4)
    push = dying.embeddings._push

    async def push_the_first(keys, args):
        if args[4] > 0:
            raise asyncio.CancelledError
        return await push(keys, args)

    monkeypatch.setattr(dying.embeddings, "_push", push_the_first)
    with pytest.raises(asyncio.CancelledError):
        await dying.embeddings.put(ref("a"), bytes(3 * embeddings.PIECE))
    assert await kept(store, "a") == set()
    assert MIB < await total(redis) == await data_bytes(redis)
    for name in "bc":
        assert await store.embeddings.put(ref(name), bytes(3 * MIB // 2))
    assert await kept(store, *"bc") == set("bc")
    assert await total(redis) == await data_bytes(redis) < 4 * MIB
