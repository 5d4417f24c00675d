"""The speech encoder's engine beside the same utterances encoded whole, one after the other.

Each of `batch` utterances of 3 s comes in pieces of 0.1 s, all at once and as fast as the engine takes them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import torch

from benchmarks.engines import Result
from benchmarks.rounds import row, together
from parley.checkpoints import load_model
from parley.models.parley import Parley
from parley.models.speech import fbank
from services.speech_encoder.engine import Engine, warm_up
from services.speech_encoder.settings import SpeechEncoderSettings

UTTERANCE_SECONDS, PIECE_SECONDS = 3.0, 0.1
UNIT, OF = "s of speech/s", "an utterance"


def measure(checkpoint: Path, sizes: list[int]) -> list[Result]:
    torch.set_num_threads(1)
    model = load_model(checkpoint, ["speech_encoder", "speech_adapter", "ctc_head"])
    rate = model.config.speech.sample_rate
    samples = (0.1 * np.random.default_rng(0).standard_normal(int(UTTERANCE_SECONDS * rate))).astype(np.float32)
    settings = SpeechEncoderSettings(
        checkpoint=checkpoint, max_sessions=max(sizes), max_batch=max(sizes), stop_seconds=0
    )
    engine = Engine(model.speech_encoder, model.speech_adapter, model.ctc_head, settings)
    warm_up(engine)
    engine.start()
    piece = int(PIECE_SECONDS * rate)

    async def hear() -> None:
        utterance = engine.open()
        for start in range(0, len(samples), piece):
            utterance.feed(samples[start : start + piece])
        utterance.finish()
        while not (await utterance.next()).output.done:
            pass
        utterance.close()

    results = []
    for size in sizes:
        seconds, latencies = asyncio.run(together(hear, size))
        results.append(row("speech encoder", size, size * UTTERANCE_SECONDS / seconds, UNIT, latencies, OF))
    engine.stop()

    async def hear_whole() -> None:
        encode_whole(model, samples)

    seconds, latencies = asyncio.run(together(hear_whole, 1))
    return [
        *results,
        row("whole utterance", 1, UTTERANCE_SECONDS / seconds, UNIT, latencies, OF, "no chunks come early"),
    ]


@torch.inference_mode()
def encode_whole(model: Parley, samples: np.ndarray) -> None:
    features = fbank(samples, model.config.speech)[None]
    frames, lengths = model.speech_encoder(features, torch.tensor([features.shape[1]]))
    model.ctc_head.transcribe(frames[0])
    model.speech_adapter(frames, lengths)
