"""Makes `silero_vad.onnx` from Silero's own file: the same weights and numbers, as matrix products over many streams.

    python -m services.gateway.media.silero.convert silero_vad/data/silero_vad_16k_op15.onnx

The file is in the package `silero-vad` (PyPI, 6.2.3; the licence is beside this file). In Silero's graph the
convolutions run one stream at a time, which takes 56 µs a frame however many there are; in this one 16 (one core of
an AMD EPYC, AVX-512). Run by who changes the network; a test checks that the file is what this makes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

from services.gateway.media.silero import FILE

# A window is 64 samples that came before, then the frame; a reflection of its end fills it up to five steps of 128.
# `spectra` are of four pairs of steps. Each convolution is a product with the columns that its kernel covers: the
# first has all four positions, padded; the second every other; of the third and the fourth one position is left.
GRAPH = """
<ir_version: 8, opset_import: ["": 15]>
silero_vad (int16[n, 576] windows, float[n, 256] states) => (float[n, 1] probabilities, float[n, 256] next_states)
{
    samples = Cast <to = 1> (windows)
    scaled = Mul (samples, scale)
    pad_end = Constant <value_ints = [0, 0, 0, 64]> ()
    padded = Pad <mode = "reflect"> (scaled, pad_end)
    in_steps = Constant <value_ints = [-1, 5, 128]> ()
    steps = Reshape (padded, in_steps)
    zero = Constant <value_ints = [0]> ()
    one = Constant <value_ints = [1]> ()
    two = Constant <value_ints = [2]> ()
    four = Constant <value_ints = [4]> ()
    five = Constant <value_ints = [5]> ()
    six = Constant <value_ints = [6]> ()
    first_steps = Slice (steps, zero, four, one)
    second_steps = Slice (steps, one, five, one)
    pairs = Concat <axis = 2> (first_steps, second_steps)
    in_pairs = Constant <value_ints = [-1, 256]> ()
    flat_pairs = Reshape (pairs, in_pairs)
    spectra = MatMul (flat_pairs, basis)
    halves = Constant <value_ints = [129, 129]> ()
    real, imaginary = Split <axis = 1> (spectra, halves)
    real_squared = Mul (real, real)
    imaginary_squared = Mul (imaginary, imaginary)
    power = Add (real_squared, imaginary_squared)
    flat_magnitudes = Sqrt (power)
    in_positions = Constant <value_ints = [-1, 4, 129]> ()
    magnitudes = Reshape (flat_magnitudes, in_positions)
    pad_positions = Constant <value_ints = [0, 1, 0, 0, 1, 0]> ()
    positions = Pad (magnitudes, pad_positions)
    before = Slice (positions, zero, four, one)
    after = Slice (positions, two, six, one)
    columns_0 = Concat <axis = 2> (before, magnitudes, after)
    in_columns_0 = Constant <value_ints = [-1, 387]> ()
    flat_columns_0 = Reshape (columns_0, in_columns_0)
    sum_0 = Gemm (flat_columns_0, weight_0, bias_0)
    encoded_0 = Relu (sum_0)
    in_rows_0 = Constant <value_ints = [-1, 512]> ()
    rows_0 = Reshape (encoded_0, in_rows_0)
    c128 = Constant <value_ints = [128]> ()
    c256 = Constant <value_ints = [256]> ()
    c512 = Constant <value_ints = [512]> ()
    columns_1_first = Slice (rows_0, zero, c256, one)
    columns_1_second = Slice (rows_0, c128, c512, one)
    sum_1_first = Gemm (columns_1_first, weight_1_first, bias_1)
    sum_1_second = Gemm (columns_1_second, weight_1, bias_1)
    sum_1 = Concat <axis = 1> (sum_1_first, sum_1_second)
    encoded_1 = Relu (sum_1)
    sum_2 = Gemm (encoded_1, weight_2, bias_2)
    encoded_2 = Relu (sum_2)
    sum_3 = Gemm (encoded_2, weight_3, bias_3)
    encoded_3 = Relu (sum_3)
    state_sizes = Constant <value_ints = [128, 128]> ()
    hidden, cell = Split <axis = 1> (states, state_sizes)
    lstm_input = Concat <axis = 1> (encoded_3, hidden)
    gates = Gemm (lstm_input, weight_lstm, bias_lstm)
    gate_sizes = Constant <value_ints = [128, 128, 128, 128]> ()
    gate_in, gate_forget, gate_cell, gate_out = Split <axis = 1> (gates, gate_sizes)
    in_share = Sigmoid (gate_in)
    forget_share = Sigmoid (gate_forget)
    candidate = Tanh (gate_cell)
    out_share = Sigmoid (gate_out)
    kept = Mul (forget_share, cell)
    added = Mul (in_share, candidate)
    next_cell = Add (kept, added)
    bounded = Tanh (next_cell)
    next_hidden = Mul (out_share, bounded)
    next_states = Concat <axis = 1> (next_hidden, next_cell)
    positive = Relu (next_hidden)
    logits = Gemm (positive, weight_out, bias_out)
    probabilities = Sigmoid (logits)
}
"""


def convert(source: Path) -> onnx.ModelProto:
    """`source`: Silero's graph for 16 kHz, version 5 or 6."""
    model = parser.parse_model(GRAPH)
    weights = {each.name: numpy_helper.to_array(each) for each in onnx.load(source).graph.initializer}
    for name, value in _matrices(weights).items():
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
    onnx.checker.check_model(model, full_check=True)
    return model


def _matrices(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Silero's weights, laid out as [inputs, outputs]."""
    kernels = [weights[f"model.encoder.{layer}.reparam_conv.weight"].transpose(2, 1, 0) for layer in range(4)]
    biases = {f"bias_{layer}": weights[f"model.encoder.{layer}.reparam_conv.bias"] for layer in range(4)}
    lstm = {name: weights[f"model.decoder.rnn.{name}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    return (
        biases
        | {
            "scale": np.array(1 / 32768),
            "basis": weights["model.stft.forward_basis_buffer"][:, 0].T,
            "weight_0": kernels[0].reshape(-1, 128),
            "weight_1": kernels[1].reshape(-1, 64),
            "weight_1_first": kernels[1][1:].reshape(-1, 64),  # left of its first position is padding
            "weight_2": kernels[2][1:].reshape(-1, 64),
            "weight_3": kernels[3][1],
            "weight_lstm": np.concatenate([lstm["weight_ih"], lstm["weight_hh"]], axis=1).T,
            "bias_lstm": lstm["bias_ih"] + lstm["bias_hh"],
            "weight_out": weights["model.decoder.decoder.2.weight"].reshape(-1, 1),
            "bias_out": weights["model.decoder.decoder.2.bias"],
        }
    )


if __name__ == "__main__":
    onnx.save(convert(Path(sys.argv[1])), FILE)
