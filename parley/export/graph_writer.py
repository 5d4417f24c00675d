"""Writes the graphs of networks: ONNX without weights, which a session takes from the modules."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from parley.export.graph import Graph

LARGEST = 1 << 20  # of a dimension that varies


def write_graph(graph: Graph, folder: Path) -> Path:
    """Traces the network, which takes some seconds. Returns the file."""
    path = graph.path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = _exported(graph)
    _leave_out_weights(model, set(graph.weights))
    onnx.save(model, path)
    return path


def _exported(graph: Graph) -> onnx.ModelProto:
    """Not optimized, so that every weight has the module's name for it: the session optimizes with the weights."""
    sizes = {name: torch.export.Dim(name, max=LARGEST) for axes in graph.inputs.values() for name in axes.values()}
    shapes = [{axis: sizes[name] for axis, name in axes.items()} for axes in graph.inputs.values()]
    named = graph.network.forward.__code__.co_argcount - 1  # without self; the rest is `*past`
    # The fused attention kernels give other strides than the exporter's decomposition expects.
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        return torch.onnx.export(
            graph.network,
            graph.example(2),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=(*shapes[:named], *([tuple(shapes[named:])] if shapes[named:] else [])),
            dynamo=True,
            optimize=False,
            verbose=False,
        ).model_proto


def _leave_out_weights(model: onnx.ModelProto, weights: set[str]) -> None:
    """Also drops what only describes: where each node comes from, and the shapes between nodes."""
    del model.graph.value_info[:]
    for node in [*model.graph.node, *(node for function in model.functions for node in function.node)]:
        del node.metadata_props[:]
        node.doc_string = ""
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
        if tensor.name in weights:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="weights")
