"""`1/model.py` of a repository for Triton's Python backend: runs `model.onnx` beside it with onnxruntime.

Copied into the repository; Triton's Python process runs it, not Parley. A graph input `x` that has an output `next_x`
is state: it is kept here for each sequence, and dropped when the sequence ends or has been idle too long.
"""

import json
import os
import time
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

NEXT = "next_"
DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        idle = config.get("sequence_batching", {}).get("max_sequence_idle_microseconds", 0)
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(
            str(path), session_options(), providers=onnxruntime.get_available_providers()
        )
        outputs = {output.name for output in self.session.get_outputs()}
        graph = self.session.get_inputs()
        self.states = Sequences([each for each in graph if NEXT + each.name in outputs], int(idle) / 1e6)
        self.inputs = [each.name for each in graph if NEXT + each.name not in outputs]
        self.outputs = [output["name"] for output in config["output"]]

    def execute(self, requests):
        """One batch. A request that continues a sequence which is not known here gets an error of its own."""
        known = [request for request in requests if self.states.begin(request)]
        answers = dict(zip(map(id, known), self.run(known), strict=True)) if known else {}
        return [answers.get(id(request)) or unknown_sequence(request) for request in requests]

    def run(self, requests):
        rows = [{name: values(request, name) for name in self.inputs} | self.states.of(request) for request in requests]
        feed = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        names = [*self.outputs, *(NEXT + name for name in self.states.names)]
        ends = np.cumsum([len(row[self.inputs[0]]) for row in rows])[:-1]
        parts = zip(*(np.split(output, ends) for output in self.session.run(names, feed)), strict=True)
        found = [dict(zip(names, part, strict=True)) for part in parts]
        return [self.answer(*each) for each in zip(requests, found, strict=True)]

    def answer(self, request, found):
        self.states.keep(request, {name: found.pop(NEXT + name) for name in self.states.names})
        tensors = [pb_utils.Tensor(name, np.ascontiguousarray(value)) for name, value in found.items()]
        return pb_utils.InferenceResponse(output_tensors=tensors)


class Sequences:
    """The states of live sequences, by sequence id. A model without states has none to keep."""

    def __init__(self, graph_inputs, idle_seconds):
        self.zeros = {each.name: np.zeros([1, *each.shape[1:]], DTYPES[each.type]) for each in graph_inputs}
        self.names = list(self.zeros)
        self.idle_seconds = idle_seconds
        self.live = {}  # id → (time of the last step, state), the one that was idle longest first

    def begin(self, request):
        """Makes sure that the request's sequence has a state. Returns whether it has."""
        if not self.names:
            return True
        if request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
            self.live[request.correlation_id()] = (time.monotonic(), self.zeros)
        return request.correlation_id() in self.live

    def of(self, request):
        return self.live[request.correlation_id()][1] if self.names else {}

    def keep(self, request, state):
        """The state after a step; none where the sequence ends with it."""
        if not self.names:
            return
        now = time.monotonic()
        self.live.pop(request.correlation_id(), None)
        if not request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END:
            self.live[request.correlation_id()] = (now, {name: value.copy() for name, value in state.items()})
        for sequence, (used, _) in list(self.live.items()):
            if now - used <= self.idle_seconds:
                break
            del self.live[sequence]


def session_options():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))  # 0: one a core
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def values(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def unknown_sequence(request):
    message = f"the state of sequence {request.correlation_id()} is not in this server; begin again"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.UNAVAILABLE))
