import subprocess
import sys

import pytest
import torch

from protos.parley.v1.tensor_pb2 import Tensor
from services.rpc import tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_torch_and_back_keeps_every_bit(dtype):
    tensor = torch.randn(5, 7).mul(100).to(dtype)
    back = tensors.to_torch(tensors.from_torch(tensor))
    assert back.dtype == dtype and torch.equal(back, tensor)
    back[0, 0] = 1  # its own memory, which may be written


def test_what_is_not_contiguous_travels_in_its_own_order():
    tensor = torch.arange(6.0).reshape(2, 3).T
    assert torch.equal(tensors.to_torch(tensors.from_torch(tensor)), tensor)


def test_data_is_little_endian():
    assert tensors.from_torch(torch.tensor([1.0])).data == b"\x00\x00\x80\x3f"
    assert tensors.from_torch(torch.tensor([1.0], dtype=torch.bfloat16)).data == b"\x80\x3f"


def test_the_dtype_of_the_reader_is_converted_to():
    tensor = torch.randn(3, 4)
    assert torch.equal(tensors.to_torch(tensors.from_torch(tensor), dtype=torch.bfloat16), tensor.bfloat16())


def test_empty_tensors_and_scalars_travel():
    assert tensors.to_torch(tensors.from_torch(torch.zeros(0, 8))).shape == (0, 8)
    assert tensors.to_torch(tensors.from_torch(torch.tensor(3.0))).item() == 3.0


@pytest.mark.parametrize(
    ("wire", "says"),
    [
        (Tensor(dtype="float64", shape=[1], data=bytes(8)), "dtype 'float64' is unknown"),
        (Tensor(dtype="float32", shape=[2, 3], data=bytes(23)), "needs 24 bytes of data, got 23"),
        (Tensor(dtype="float32", shape=[2, 3], data=bytes(25)), "needs 24 bytes of data, got 25"),
        (Tensor(dtype="float32", shape=[-1, -6], data=bytes(24)), "negative"),
        (Tensor(dtype="float32", shape=[1 << 40], data=b""), "above the limit"),
        (Tensor(dtype="float32", shape=[6], data=bytes(24)), r"want \['any', 3\]"),
        (Tensor(dtype="float32", shape=[3, 2], data=bytes(24)), r"want \['any', 3\]"),
    ],
)
@pytest.mark.parametrize("read", [tensors.check, tensors.to_torch])
def test_what_does_not_fit_is_refused_with_what_would(read, wire, says):
    with pytest.raises(ValueError, match=says):
        read(wire, (None, 3))


def test_tensors_of_other_dtypes_are_refused():
    with pytest.raises(ValueError, match="float64 cannot travel"):
        tensors.from_torch(torch.zeros(3, dtype=torch.float64))


def test_what_the_gateway_imports_needs_no_torch():
    modules = "decorator, errors, health, limits, server, streams, tensors"
    code = f"import sys; from services.rpc import {modules}; import services.registry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
