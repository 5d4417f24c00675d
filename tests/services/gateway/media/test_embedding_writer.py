"""Embeddings are stored beside the turn, a bounded number at once."""

from __future__ import annotations

import asyncio

from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.events.items import Ref
from services.gateway.media.embedding_writer import MAX_WRITES, EmbeddingWriter


class SlowStore:
    def __init__(self) -> None:
        self.started, self.kept, self.open = 0, {}, asyncio.Event()

    async def put(self, ref: Ref, data: bytes) -> bool:
        self.started += 1
        await self.open.wait()
        self.kept[ref.hash] = data
        return True


def ref(name: int) -> Ref:
    return Ref(weights="w", hash=str(name), length=1)


TENSOR = Tensor(dtype="float32", shape=[1, 2], data=bytes(8))


async def test_what_a_slow_store_cannot_take_is_left_out_and_nobody_waits():
    store = SlowStore()
    writer = EmbeddingWriter(store)
    for name in range(MAX_WRITES + 3):
        writer.write(ref(name), TENSOR)
    waiting = asyncio.create_task(writer.wait())
    await asyncio.sleep(0)
    assert store.started == MAX_WRITES and not waiting.done()
    store.open.set()
    await waiting
    assert list(store.kept) == [str(name) for name in range(MAX_WRITES)]
    assert Tensor.FromString(store.kept["0"]) == TENSOR
    writer.write(ref(99), TENSOR)  # there is room again
    await writer.wait()
    assert "99" in store.kept


async def test_nothing_to_write_is_nothing_to_wait_for():
    await EmbeddingWriter(SlowStore()).wait()
