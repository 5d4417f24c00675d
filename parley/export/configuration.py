"""A model's `config.pbtxt`: fixed shapes, how requests share batches, and which weights it has.

Notable points:
- Pictures are batched as they come (`dynamic_batching`).
- Chunks of speech belong to a sequence, whose state stays in the server. Among the sequences that have a chunk the
  oldest are served first, as many as a batch holds (`oldest`): a silent caller blocks no place in a batch.
- With the runtime `onnxruntime` Triton itself keeps the state ("implicit state"). Its Python backend does not support
  that: there `triton_model.py` keeps the state by sequence id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from parley.export.networks import NEXT
from parley.export.signature import Signature, TensorSpec

Runtime = Literal["onnxruntime", "python"]

TYPES = {"float32": pb.TYPE_FP32, "float16": pb.TYPE_FP16, "int64": pb.TYPE_INT64, "bool": pb.TYPE_BOOL}
MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Batching:
    """Limits of a model in the server."""

    max_batch: int = 32  # tiles, or utterances that have a chunk at the same time
    max_delay_ms: float = 2.0  # that a request waits for others
    max_sequences: int = 256  # utterances at once; more wait
    idle_seconds: float = 60.0  # after which a sequence is dropped; longer than a service waits for its caller


def model_config(signature: Signature, runtime: Runtime, batching: Batching) -> pb.ModelConfig:
    config = pb.ModelConfig(
        name=signature.name,
        backend=runtime,
        max_batch_size=batching.max_batch,
        input=[pb.ModelInput(name=t.name, data_type=TYPES[t.dtype], dims=t.shape) for t in signature.inputs],
        output=[pb.ModelOutput(name=t.name, data_type=TYPES[t.dtype], dims=t.shape) for t in signature.outputs],
        default_model_filename="model.onnx" if runtime == "onnxruntime" else "model.py",
    )
    for key, value in signature.parameters.items():
        config.parameters[key].string_value = value
    delay = round(batching.max_delay_ms * 1000)
    if signature.states:
        config.sequence_batching.CopyFrom(_sequence_batching(signature, runtime, batching, delay))
    else:
        config.dynamic_batching.max_queue_delay_microseconds = delay
    return config


def as_text(config: pb.ModelConfig) -> str:
    return text_format.MessageToString(config)


def _sequence_batching(
    signature: Signature, runtime: Runtime, batching: Batching, delay: int
) -> pb.ModelSequenceBatching:
    return pb.ModelSequenceBatching(
        max_sequence_idle_microseconds=round(batching.idle_seconds * MICROSECONDS),
        oldest=pb.ModelSequenceBatching.StrategyOldest(
            max_candidate_sequences=batching.max_sequences, max_queue_delay_microseconds=delay
        ),
        state=[_state(spec) for spec in signature.states] if runtime == "onnxruntime" else [],
    )


def _state(spec: TensorSpec) -> pb.ModelSequenceBatching.State:
    zeros = pb.ModelSequenceBatching.InitialState(
        name=f"{spec.name}_zeros", data_type=TYPES[spec.dtype], dims=spec.shape, zero_data=True
    )
    return pb.ModelSequenceBatching.State(
        input_name=spec.name,
        output_name=NEXT + spec.name,
        data_type=TYPES[spec.dtype],
        dims=spec.shape,
        initial_state=[zeros],
    )
