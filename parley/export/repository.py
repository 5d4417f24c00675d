"""Writes a checkpoint's encoders as models of a Triton model repository: `config.pbtxt` and ONNX.

A model's folder appears with one rename, complete. It is named by the weights: a repository may hold the models of
several checkpoints, and a server that watches it serves old and new ones side by side.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from parley.checkpoints import Checkpoint, load_model
from parley.export.configuration import Batching, Runtime, as_text, model_config
from parley.export.networks import NEXT, SpeechNetwork, VisionNetwork
from parley.export.signature import Signature, SpeechChunks, TensorSpec, speech_signature, vision_signature

TORCH_DTYPES = {"float32": torch.float32, "float16": torch.float16, "int64": torch.int64, "bool": torch.bool}
LARGEST_BATCH = 1024
VISION_PARTS = ("vision_encoder", "vision_adapter")
SPEECH_PARTS = ("speech_encoder", "speech_adapter")
HEAD = "ctc_head"
PYTHON_MODEL = Path(__file__).with_name("triton_model.py")  # copied, never imported


def write_vision(
    checkpoint: Checkpoint, folder: Path, runtime: Runtime = "onnxruntime", dtype: str = "float32",
    batching: Batching | None = None,
) -> Path:  # fmt: skip
    """Vision encoder and adapter. Returns the model's folder. Raises `ValueError` where it is there already."""
    signature = vision_signature(checkpoint.config, checkpoint.fingerprint, dtype)
    path = _check_absent(folder, signature)
    network = VisionNetwork(load_model(checkpoint, VISION_PARTS, dtype=TORCH_DTYPES[dtype]))
    return _write(path, network, signature, runtime, batching or Batching())


def write_speech(
    checkpoint: Checkpoint, folder: Path, chunks: SpeechChunks, runtime: Runtime = "onnxruntime",
    dtype: str = "float32", batching: Batching | None = None,
) -> Path:  # fmt: skip
    """Speech encoder, adapter and CTC head, if there is one. As `write_vision`."""
    parts = SPEECH_PARTS + ((HEAD,) if HEAD in checkpoint.parts else ())
    signature = speech_signature(
        checkpoint.config, checkpoint.fingerprint, chunks, transcribes=HEAD in parts, dtype=dtype
    )
    path = _check_absent(folder, signature)
    network = SpeechNetwork(load_model(checkpoint, parts, dtype=TORCH_DTYPES[dtype]), signature)
    return _write(path, network, signature, runtime, batching or Batching())


def _check_absent(folder: Path, signature: Signature) -> Path:
    path = folder / signature.name
    if path.exists():
        raise ValueError(f"{path} is there already; remove it first, when no server uses it any more")
    return path


def _write(path: Path, network: nn.Module, signature: Signature, runtime: Runtime, batching: Batching) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the repository and not in it: a server that watches it must not see half a model.
    with tempfile.TemporaryDirectory(dir=path.parent.absolute().parent, prefix=".parley-export-") as draft:
        version = Path(draft) / signature.name / "1"
        version.mkdir(parents=True)
        export_onnx(network, signature, version / "model.onnx")
        if runtime == "python":
            shutil.copyfile(PYTHON_MODEL, version / "model.py")
        (version.parent / "config.pbtxt").write_text(as_text(model_config(signature, runtime, batching)))
        version.parent.rename(path)
    return path


def export_onnx(network: nn.Module, signature: Signature, path: Path) -> None:
    """The network as ONNX, with the signature's names and a batch of any size."""
    given = (*signature.inputs, *signature.states)
    batch = {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)}
    plain, states = ([batch] * len(each) for each in (signature.inputs, signature.states))
    # The fused attention kernels give other strides than the exporter's decomposition expects.
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network.eval(),
            tuple(_example(spec) for spec in given),
            input_names=[spec.name for spec in given],
            output_names=[spec.name for spec in signature.outputs] + [NEXT + spec.name for spec in signature.states],
            dynamic_shapes=(*plain, tuple(states)) if states else tuple(plain),
            dynamo=True,
            verbose=False,
        )
        program.save(path)


def _example(spec: TensorSpec) -> torch.Tensor:
    return torch.zeros(2, *spec.shape, dtype=TORCH_DTYPES[spec.dtype])  # a batch of 1 would be taken for a constant
