"""Silero's voice activity network, for many microphones in one call (`onnxruntime`; `convert.py` makes its file)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

FILE = Path(__file__).parent / "silero_vad.onnx"
SAMPLE_RATE = 16_000  # Hz
FRAME_BYTES = 1024  # 512 samples, 16-bit
CONTEXT_BYTES = 128  # of the samples before a frame, that the network is given with it
START = bytes(1024)  # the state before the first frame: 256 float32


class Silero:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(FILE, options, providers=["CPUExecutionProvider"])

    def __call__(self, windows: Sequence[bytes], states: Sequence[bytes]) -> tuple[list[float], list[bytes]]:
        """One frame of each of some microphones.

        Args:
            windows: the last `CONTEXT_BYTES` before the frame (zeros, at the start) and the frame; 16-bit samples.
            states: of each microphone, as the call for its last frame returned it.

        Returns:
            Probabilities of speech, and the next states.
        """
        samples = np.frombuffer(b"".join(windows), "<i2").reshape(len(windows), -1)
        before = np.frombuffer(b"".join(states), np.float32).reshape(len(states), -1)
        probabilities, after = self._session.run(None, {"windows": samples, "states": before})
        return probabilities[:, 0].tolist(), [state.tobytes() for state in after]
