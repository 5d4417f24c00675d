"""A network in ONNX Runtime: the graph from a file, the weights from the module, checked against the module."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from parley.export.graph import Graph

TOLERANCE = 1e-4  # of each output, absolute and relative
BATCHES = (1, 3)  # that are compared


class OnnxNetwork:
    """Called as the module is, with tensors on the CPU. Only one thread may call it."""

    def __init__(self, graph: Graph, folder: Path, threads: int):
        """Raises `ValueError` where the folder has no graph for the network, or the graph computes something else."""
        path = graph.path(folder)
        if not path.exists():
            raise ValueError(f"no graph {path.name} in {folder}; `parley export graphs` writes it")
        model = path.read_bytes()
        self._weights = {name: weight for name, weight in graph.weights.items() if _is_named(name, model)}
        self._session = onnxruntime.InferenceSession(model, self._options(threads))  # it reads the weights' memory
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._check(graph, path)

    def __call__(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        given = {name: tensor.numpy() for name, tensor in zip(self._inputs, inputs, strict=True)}
        outputs = [torch.from_numpy(output) for output in self._session.run(None, given)]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _options(self, threads: int) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: what it cannot optimize is no news
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        values = [
            onnxruntime.OrtValue.ortvalue_from_numpy(weight.detach().numpy()) for weight in self._weights.values()
        ]
        options.add_external_initializers(list(self._weights), values)
        return options

    @torch.inference_mode()
    def _check(self, graph: Graph, path: Path) -> None:
        for batch in BATCHES:
            inputs = graph.example(batch)
            wanted, found = graph.network(*inputs), self(*inputs)
            pairs = [(wanted, found)] if isinstance(wanted, Tensor) else zip(wanted, found, strict=True)
            for name, (want, got) in zip(graph.outputs, pairs, strict=True):
                if not torch.allclose(got, want, TOLERANCE, TOLERANCE):
                    most = float((got - want).abs().max())
                    raise ValueError(f"{path} differs from the network by {most:.1e} in {name}; write it anew")


def _is_named(weight: str, model: bytes) -> bool:
    """Whether the ONNX graph reads the weight: it has a tensor whose name, field 8 of `TensorProto`, is this one."""
    return b"\x42%c%b" % (len(weight), weight.encode()) in model
