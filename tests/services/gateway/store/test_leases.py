"""The lease of a turn: one holder at a time, renewal, takeover from the dead, and no late writes."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from services.gateway.events.items import Item
from services.gateway.events.session import SessionConfig
from services.gateway.store.keys import key
from services.gateway.store.protocols import Lease
from services.rpc.errors import ServiceError


@pytest.fixture
async def session_id(make_store) -> str:
    return (await make_store().sessions.create(SessionConfig())).id


async def ids(store, session_id: str) -> list[str]:
    return [item.id for item in await store.items.list(session_id)]


async def test_a_second_turn_elsewhere_is_told_that_the_session_is_busy(make_store, session_id):
    here, there = make_store(lease_seconds=0.6), make_store(lease_seconds=0.6)
    async with here.leases.lease(session_id):
        with pytest.raises(ServiceError, match="another connection is answering") as caught:
            async with there.leases.lease(session_id):
                pass
        assert caught.value.code == grpc.StatusCode.ABORTED and caught.value.retry_after > 0
    async with there.leases.lease(session_id):  # free again
        pass


async def test_the_lease_of_a_dead_gateway_is_taken_over_and_its_late_write_refused(make_store, session_id, redis):
    store = make_store(lease_seconds=0.5)
    await redis.set(key(session_id, "turn"), "token of a dead process", px=300)
    async with store.leases.lease(session_id) as lease:
        await store.items.append(lease, [Item(id="after the crash")])
        late = Lease(session_id, "token of a dead process", asyncio.Event())
        with pytest.raises(ServiceError, match="took over") as caught:
            await store.items.append(late, [Item(id="too late")])
        assert caught.value.code == grpc.StatusCode.ABORTED
        assert not lease.lost.is_set()  # the wait for it was longer than the pause between two renewals
    assert await ids(store, session_id) == ["after the crash"]


async def test_a_lease_that_is_taken_is_lost_to_its_holder(make_store, session_id):
    here, there = make_store(lease_seconds=0.3), make_store(lease_seconds=0.3)
    async with here.leases.lease(session_id) as lost:
        async with there.leases.lease(session_id, take=True) as lease:
            await asyncio.wait_for(lost.lost.wait(), 5)
            with pytest.raises(ServiceError, match="took over"):
                await here.items.append(lost, [Item(id="late")])
            await there.items.append(lease, [Item(id="in time")])
        assert not lease.lost.is_set()
    assert await ids(there, session_id) == ["in time"]


async def test_a_lease_is_renewed_while_the_turn_lasts_and_its_loss_is_noticed(make_store, session_id, redis):
    store = make_store(lease_seconds=0.3)
    async with store.leases.lease(session_id) as lease:
        await asyncio.sleep(0.7)
        assert not lease.lost.is_set() and await redis.pttl(key(session_id, "turn")) > 0
        await redis.set(key(session_id, "turn"), "another")
        await asyncio.wait_for(lease.lost.wait(), 5)
    assert await redis.get(key(session_id, "turn")) == b"another"  # not ours to delete


async def test_a_lease_that_expired_is_still_its_own_unless_another_had_it(make_store, session_id, redis):
    store, other = make_store(lease_seconds=30), make_store(lease_seconds=30)
    async with store.leases.lease(session_id) as lease:
        await redis.delete(key(session_id, "turn"))  # as if it had expired while the process was stopped
        await store.items.append(lease, [Item(id="late, but nobody came")])
        assert await store.leases._renew(lease)
        assert await redis.get(key(session_id, "turn")) == lease.token.encode()
        await redis.delete(key(session_id, "turn"))
        async with other.leases.lease(session_id):
            pass
        with pytest.raises(ServiceError, match="took over"):
            await store.items.append(lease, [Item(id="somebody came and went")])
        assert not await store.leases._renew(lease)
    assert await ids(store, session_id) == ["late, but nobody came"]


async def test_a_store_that_has_lost_the_session_is_told_as_such(make_store, session_id, redis):
    """It was told as "another connection took over"."""
    store = make_store(lease_seconds=0.3)
    async with store.leases.lease(session_id) as lease:
        await redis.flushall()  # as a Redis does that ends and keeps nothing
        await asyncio.wait_for(lease.lost.wait(), 5)
        for attempt in range(2):
            with pytest.raises(ServiceError, match="has lost this session") as caught:
                await store.items.append(lease, [Item(id="late")])
            assert caught.value.code == lease.loss().code == grpc.StatusCode.NOT_FOUND, attempt
    assert not await redis.exists(key(session_id, "items"))


async def test_a_lease_whose_reply_was_lost_is_not_waited_for(make_store, session_id, redis):
    store = make_store(lease_seconds=30)
    async with store.leases.lease(session_id) as lease:
        await asyncio.wait_for(store.leases._acquire(lease), 5)  # as the client library tries again
        assert await redis.get(key(session_id, "turn")) == lease.token.encode()
    assert await redis.get(key(session_id, "turn")) is None


async def test_a_renewal_that_takes_its_cancellation_for_an_error_ends_all_the_same(make_store, session_id):
    """It went on, and the session's next turns were told that another connection answers."""
    store, renewing, extend = make_store(lease_seconds=0.3), asyncio.Event(), None

    async def swallows(**arguments) -> int:
        renewing.set()
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            raise ConnectionError("while it was cancelled") from None
        return await extend(**arguments)

    extend, store.leases._extend = store.leases._extend, swallows
    async with store.leases.lease(session_id):
        await renewing.wait()
    await asyncio.sleep(0.4)
    async with asyncio.timeout(2):
        async with make_store(lease_seconds=0.3).leases.lease(session_id):
            pass
