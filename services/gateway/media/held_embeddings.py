"""The newest embeddings of a client in memory: found also where the store has not got them, or does not keep them."""

from __future__ import annotations

from collections import OrderedDict

from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.events.items import Ref

MAX_BYTES = 32 << 20


class HeldEmbeddings:
    """Of one connection or request. The oldest go first; the newest is always held."""

    def __init__(self, max_bytes: int = MAX_BYTES):
        self._max_bytes, self.bytes = max_bytes, 0
        self._tensors: OrderedDict[Ref, Tensor] = OrderedDict()

    def put(self, ref: Ref, tensor: Tensor) -> None:
        """`tensor`: [length, language width]."""
        self.bytes -= len(self._tensors.pop(ref, Tensor()).data)
        self._tensors[ref] = tensor
        self.bytes += len(tensor.data)
        while self.bytes > self._max_bytes and len(self._tensors) > 1:
            _, oldest = self._tensors.popitem(last=False)
            self.bytes -= len(oldest.data)

    def get(self, ref: Ref) -> Tensor | None:
        return self._tensors.get(ref)
