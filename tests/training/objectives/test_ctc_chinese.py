"""The CTC objective over Chinese transcripts: errors are counted in characters, not in sentences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from parley.config import SpeechConfig
from parley.models.speech import CtcHead, SpeechEncoder
from training.objectives import ctc
from training.objectives.ctc import CtcObjective

CONFIG = SpeechConfig(
    conv_channels=4, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32, position="rotary",
    dropout=0.0, ctc_alphabet=" 不今天好气错",
)  # fmt: skip


class Transcripts:
    """Noise with one transcript, written with spaces as AISHELL-1 writes it."""

    sample_rate, measures = 16_000, ("aishell",)

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        noise = np.random.default_rng(index).standard_normal(8_000)
        return (0.1 * noise).astype(np.float32), "今天 天气 不错"

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        return self.utterance(1000 + index)

    def seconds(self, index: int) -> float:
        return 0.5


@pytest.mark.parametrize(("heard", "rate"), [("今天天气不错", 0.0), ("今天天气不好", 100 / 6), ("", 100.0)])
def test_the_error_rate_is_of_characters(monkeypatch, heard, rate):
    monkeypatch.setattr(ctc, "MEASURED", 2)
    monkeypatch.setattr(ctc, "VALIDATED", 3)
    monkeypatch.setattr(CtcHead, "transcribe", lambda *_: heard)
    model = torch.nn.Module()
    model.speech_encoder, model.ctc_head = SpeechEncoder(CONFIG), CtcHead(CONFIG)
    objective = CtcObjective(model, Transcripts(), 0, batch_size=2).eval()
    with torch.no_grad():
        tables = [objective(batch)["words"] for batch in objective.probe(0, 1)]
    assert objective.summary({"words": sum(tables)}) == {"wer_aishell": pytest.approx(rate)}
