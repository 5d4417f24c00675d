"""Packages of the extra `voices`: whether they are installed, and the models in them."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime

INSTALL = "python install.py voices"


def lacking(*modules: str) -> str:
    """How to install the modules that are not there; "" if all are."""
    absent = [module for module in modules if find_spec(module) is None]
    return f"{INSTALL} (no package {', '.join(absent)})" if absent else ""


def joined(parts: Iterable[tuple[str, str]], digest: str) -> bytes:
    """A model that is split over (package, file) pairs. Raises `ValueError` if its SHA-256 is not `digest`."""
    model = b"".join(files(package).joinpath(file).read_bytes() for package, file in parts)
    if sha256(model).hexdigest() != digest:
        packages = ", ".join(dict.fromkeys(package for package, _ in parts))
        raise ValueError(f"{packages}: not the model whose hash is pinned; install again: {INSTALL}")
    return model


def session(model: bytes) -> onnxruntime.InferenceSession:
    """A model on one thread: stages of a training run side by side."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
