"""The newest embeddings in memory, within a budget of bytes."""

from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.events.items import Ref
from services.gateway.media.held_embeddings import HeldEmbeddings


def ref(name: str) -> Ref:
    return Ref(weights="w", hash=name, length=1)


def test_the_oldest_go_first_and_the_newest_stays():
    held = HeldEmbeddings(max_bytes=8)
    for name in ("a", "b", "c"):
        held.put(ref(name), Tensor(data=bytes(4)))
    assert held.get(ref("a")) is None and held.get(ref("b")) is not None and held.get(ref("c")) is not None
    held.put(ref("large"), Tensor(data=bytes(100)))
    assert held.get(ref("large")).data == bytes(100) and held.get(ref("c")) is None


def test_what_is_put_twice_counts_once():
    held = HeldEmbeddings(max_bytes=8)
    for _ in range(5):
        held.put(ref("a"), Tensor(data=bytes(4)))
    held.put(ref("b"), Tensor(data=bytes(4)))
    assert held.get(ref("a")) is not None
