"""Compiled networks: ONNX Runtime on a CPU, where operations of few numbers cost more to start than to compute."""

from __future__ import annotations

from collections.abc import Callable

from parley.export.graph import GRAPHS, Graph
from services.engine.device import device_kind
from services.engine.settings import AUTO, CompiledSettings
from services.telemetry import logs

log = logs.get_logger(__name__)


def compiled(graph: Graph, settings: CompiledSettings) -> Callable | None:
    """The network compiled, as the settings want it; None: torch runs it. They must be without other `auto`s.

    Raises `ValueError` where it must be compiled and cannot be. With `auto` it is then logged why.
    """
    if settings.runtime == "torch":
        return None
    try:
        return _in_onnxruntime(graph, settings)
    except ValueError as error:
        if settings.runtime != AUTO:
            raise
        log.info("runs in torch", network=graph.name, reason=str(error))
        return None


def _in_onnxruntime(graph: Graph, settings: CompiledSettings) -> Callable:
    if device_kind(settings.device) != "cpu" or settings.dtype != "float32":
        raise ValueError(f"ONNX Runtime computes in float32 on a CPU, not in {settings.dtype} on {settings.device}")
    from services.engine.onnx_network import OnnxNetwork

    return OnnxNetwork(graph, settings.graphs or GRAPHS, settings.threads)
