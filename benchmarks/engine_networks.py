"""One call of each network of a service: in torch, and compiled for ONNX Runtime, in turns in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.engines import Result
from benchmarks.rounds import result
from parley.export.graph import GRAPHS, Graph
from services.engine.onnx_network import OnnxNetwork

ROUNDS, CALLS, WARM_UP_CALLS = 6, 10, 2  # of each way in turns; of a round the last `CALLS` count


def measure_networks(graphs: Sequence[Graph], sizes: Sequence[int]) -> list[Result]:
    """Two rows for each network and batch. A network without a graph has only that of torch."""
    results = []
    for graph in graphs:
        ways: dict[str, Callable] = {"torch": graph.network}
        if graph.path(GRAPHS).exists():
            ways["onnxruntime"] = OnnxNetwork(graph, GRAPHS, threads=1)
        for size in sizes:
            results += [_row(graph, size, way, taken) for way, taken in _in_turns(ways, graph.example(size)).items()]
    return results


@torch.inference_mode()
def _in_turns(ways: dict[str, Callable], inputs: tuple[torch.Tensor, ...]) -> dict[str, list[float]]:
    """Seconds of CPU of each call, which other processes hardly change."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, call in ways.items():
            taken[way] += [_timed(call, inputs) for _ in range(WARM_UP_CALLS + CALLS)][WARM_UP_CALLS:]
    return taken


def _timed(call: Callable, inputs: tuple[torch.Tensor, ...]) -> float:
    started = time.thread_time()
    call(*inputs)
    return time.thread_time() - started


def _row(graph: Graph, size: int, way: str, taken: list[float]) -> Result:
    return result(graph.name, size, len(taken) / sum(taken), "calls/s", taken, "a call (CPU)", way)
