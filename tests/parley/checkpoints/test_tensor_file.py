"""Safetensors files written tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from parley.checkpoints.tensor_file import TensorWriter


def test_the_writer_makes_what_the_library_reads(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(3, 5).half(),
        "turned": torch.randn(4, 6).T,
        "number": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
        "brain": torch.randn(5).bfloat16(),
    }
    writer = TensorWriter(tmp_path / "t.safetensors", {n: (t.dtype, tuple(t.shape)) for n, t in tensors.items()})
    for name in reversed(tensors):
        writer.write(name, tensors[name])
    writer.close()
    read = load_file(tmp_path / "t.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) and read[name].dtype == tensors[name].dtype for name in tensors)
