"""Tensors on the wire: raw little-endian bytes with a dtype and a shape, and nothing guessed.

Notable points:
- Strict both ways: a byte too many, an unknown dtype or a wrong shape is a `ValueError` that says what would be right.
- Importing this module does not import torch: callers that only `check` tensors do not need it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from protos.parley.v1.tensor_pb2 import Tensor

if TYPE_CHECKING:
    import torch

WIRE_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2, "int64": 8}  # bytes an element
MAX_ELEMENTS = 1 << 28  # of one tensor
NUMPY_DTYPES = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "int64": "<i8"}


def check(tensor: Tensor, shape: Sequence[int | None] | None = None) -> tuple[int, ...]:
    """The tensor's shape, once it is known to be sound.

    `shape`: what is expected, `None` standing for any size of that axis.
    Raises `ValueError` for an unknown dtype, a shape that is not the expected one, more than `MAX_ELEMENTS` elements,
    or a number of bytes that does not follow from dtype and shape.
    """
    if tensor.dtype not in WIRE_SIZES:
        raise ValueError(f"tensor dtype {tensor.dtype!r} is unknown; use one of {', '.join(WIRE_SIZES)}")
    sizes = tuple(tensor.shape)
    if any(size < 0 for size in sizes):
        raise ValueError(f"tensor shape {list(sizes)} has a negative size")
    count = math.prod(sizes)
    if count > MAX_ELEMENTS:
        raise ValueError(f"tensor of {count} elements is above the limit of {MAX_ELEMENTS}")
    want = count * WIRE_SIZES[tensor.dtype]
    if len(tensor.data) != want:
        raise ValueError(f"tensor of {tensor.dtype} {list(sizes)} needs {want} bytes of data, got {len(tensor.data)}")
    if shape is not None and (
        len(shape) != len(sizes) or any(w is not None and w != s for w, s in zip(shape, sizes, strict=True))
    ):
        wanted = ["any" if size is None else size for size in shape]
        raise ValueError(f"tensor shape {list(sizes)} does not fit; want {wanted}")
    return sizes


def from_torch(tensor: torch.Tensor) -> Tensor:
    """Tensor of any device and shape → wire, keeping the dtype. Raises `ValueError` for a dtype that cannot travel."""
    import torch

    name = str(tensor.dtype).removeprefix("torch.")
    if name not in WIRE_SIZES:
        raise ValueError(f"tensor dtype {name} cannot travel; convert it to one of {', '.join(WIRE_SIZES)}")
    flat = tensor.detach().cpu().contiguous()
    if name == "bfloat16":
        flat = flat.view(torch.uint16)
    return Tensor(dtype=name, shape=tensor.shape, data=flat.numpy().astype(NUMPY_DTYPES[name], copy=False).tobytes())


def to_torch(
    tensor: Tensor,
    shape: Sequence[int | None] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Wire → a tensor of its own memory, optionally of another dtype or device. Raises as `check` does."""
    import torch

    sizes = check(tensor, shape)
    array = np.frombuffer(tensor.data, dtype=NUMPY_DTYPES[tensor.dtype]).reshape(sizes)
    native = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=True))
    if tensor.dtype == "bfloat16":
        native = native.view(torch.bfloat16)
    return native.to(device=device, dtype=dtype)
