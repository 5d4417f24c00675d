"""Writes a safetensors file tensor by tensor, in any order, so that it may be larger than memory.

The library's own writer wants all tensors at once. The format is small: the header's length (8 bytes, little-endian),
the header (JSON: name → dtype, shape, first and last byte), then the tensors' bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path

import torch
from torch import Tensor

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class TensorWriter:
    """Announce all tensors, then `write` each once, then `close`."""

    def __init__(self, path: Path, tensors: dict[str, tuple[torch.dtype, tuple[int, ...]]]) -> None:
        header, end = {}, 0
        self._places: dict[str, tuple[torch.dtype, tuple[int, ...], int]] = {}
        # The widest types first: so each tensor starts at a multiple of its own width, as readers like it.
        for name, (dtype, shape) in sorted(tensors.items(), key=lambda item: (-item[1][0].itemsize, item[0])):
            start, end = end, end + dtype.itemsize * torch.Size(shape).numel()
            header[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [start, end]}
            self._places[name] = (dtype, tuple(shape), start)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._start = 8 + len(text)
        self._file = open(path, "wb")  # noqa: SIM115 (closed by `close`)
        self._file.write(struct.pack("<Q", len(text)) + text)
        self._file.truncate(self._start + end)

    def write(self, name: str, tensor: Tensor) -> None:
        """Puts a tensor in its place, cast to the announced dtype."""
        dtype, shape, start = self._places.pop(name)
        assert tuple(tensor.shape) == shape, f"{name}: {tuple(tensor.shape)} is not the announced {shape}"
        data = tensor.detach().to("cpu", dtype).contiguous()
        self._file.seek(self._start + start)
        self._file.write(data.reshape(-1).view(torch.uint8).numpy().data)

    def close(self) -> None:
        """Ends the file, safe on the disk."""
        assert not self._places, f"never written: {', '.join(self._places)}"
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Closes the unfinished file, for whoever removes it."""
        self._file.close()


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
