"""The speech encoder's engine beside the same utterances encoded whole, one after the other.

Each of `batch` utterances of 3 s is sent in messages of 0.1 s, all at once and as fast as the engine takes them. The
note says how much CPU time the engine's own thread, which makes the steps, takes for it (on Linux).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import torch

from benchmarks.engine_networks import measure_networks
from benchmarks.engines import Result
from benchmarks.rounds import ROUNDS, engine_seconds, result, run_together
from parley.checkpoints import load_model
from parley.export.graph import MAX_SECONDS, speech_step_graph
from parley.export.signature import SpeechChunks
from parley.models.filter_bank import fbank
from parley.models.parley import Parley
from services.speech_encoder.backends.local import local_backend
from services.speech_encoder.engine import SERVICE, Engine, warm_up
from services.speech_encoder.settings import SpeechEncoderSettings

UTTERANCE_SECONDS, MESSAGE_SECONDS = 3.0, 0.1
UNIT, OF = "s of speech/s", "an utterance"


def measure(checkpoint: Path, sizes: list[int]) -> list[Result]:
    torch.set_num_threads(1)
    model = load_model(checkpoint, ["speech_encoder", "speech_adapter", "ctc_head"])
    rate = model.config.speech.sample_rate
    samples = (0.1 * np.random.default_rng(0).standard_normal(int(UTTERANCE_SECONDS * rate))).astype(np.float32)
    results = []
    for runtime in "auto", "torch":
        settings = SpeechEncoderSettings(
            max_utterances=max(sizes), max_batch=max(sizes), stop_seconds=0, threads=1, device="cpu", dtype="float32",
            runtime=runtime,
        )  # fmt: skip
        engine = Engine(local_backend(model, settings), model.config.speech, settings)
        warm_up(engine)
        engine.start()
        results += [measure_batch(engine, samples, size) for size in sizes]
        engine.stop()

    async def encode_alone() -> None:
        encode_whole(model, samples)

    seconds, latencies = asyncio.run(run_together(encode_alone, 1))
    note = "no embeddings come early"
    results.append(result("whole utterance", 1, UTTERANCE_SECONDS / seconds, UNIT, latencies, OF, note))
    chunks = SpeechChunks.chosen(model.config.speech, None, None, MAX_SECONDS)
    return [*results, *measure_networks([speech_step_graph(model, chunks)], sizes)]


def measure_batch(engine: Engine, samples: np.ndarray, size: int) -> Result:
    """`size` utterances at once."""

    async def encode() -> None:
        await encode_streamed(engine, samples, round(len(samples) * MESSAGE_SECONDS / UTTERANCE_SECONDS))

    used = engine_seconds(SERVICE)
    seconds, latencies = asyncio.run(run_together(encode, size))
    used = (engine_seconds(SERVICE) - used) / (UTTERANCE_SECONDS * size * (1 + ROUNDS))
    note = f"{engine.settings.runtime}; engine's thread: {1000 * used:.2f} ms a s of speech"
    return result("speech encoder", size, size * UTTERANCE_SECONDS / seconds, UNIT, latencies, OF, note)


async def encode_streamed(engine: Engine, samples: np.ndarray, message: int) -> None:
    """One utterance, sent in messages of `message` samples."""
    utterance = engine.open()
    for start in range(0, len(samples), message):
        utterance.feed(samples[start : start + message])
    utterance.finish()
    while not (await utterance.next()).output.done:
        pass
    utterance.close()


@torch.inference_mode()
def encode_whole(model: Parley, samples: np.ndarray) -> None:
    features = fbank(samples, model.config.speech)[None]
    frames, lengths = model.speech_encoder(features, torch.tensor([features.shape[1]]))
    model.ctc_head.transcribe(frames[0])
    model.speech_adapter(frames, lengths)
