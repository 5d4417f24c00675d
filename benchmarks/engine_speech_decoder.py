"""The speech decoder's engine beside the same clauses spoken one after the other, each decoded whole.

Each of `batch` answers is two clauses of known words; the percentiles are of the time to an answer's first audio.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import torch

from benchmarks.engines import Result
from benchmarks.rounds import row, together
from parley.checkpoints import Checkpoint, load_model
from parley.models.parley import Parley
from parley.text.clauses import Clause, split
from services.speech_decoder.engine import Engine, warm_up
from services.speech_decoder.service import EMBEDDINGS
from services.speech_decoder.settings import SpeechDecoderSettings

ANSWER = "a small green triangle at the top, and a big yellow star at the bottom left."
UNIT, OF = "s of speech/s", "to the first audio"


def measure(checkpoint: Path, sizes: list[int]) -> list[Result]:
    torch.set_num_threads(1)
    opened = Checkpoint.open(checkpoint)
    model = load_model(opened, ["speech_decoder", "codec_decoder"])
    table = opened.tensor("language", EMBEDDINGS).float()
    codec = model.config.codec
    voice = list(codec.default_speaker) or [0] * codec.num_speaker_tokens
    clauses = answer_of(model)
    settings = SpeechDecoderSettings(
        checkpoint=checkpoint, max_sessions=max(sizes), max_batch=max(sizes), stop_seconds=0
    )
    engine = Engine(model.speech_decoder, model.codec_decoder, table, codec.sample_rate, settings)
    warm_up(engine)
    engine.start()
    results = []
    for size in sizes:
        spoken, first = [], []

        async def speak(spoken: list[float] = spoken, first: list[float] = first) -> None:
            answer = engine.open(voice, seed=0)
            for clause in clauses:
                answer.say(clause)
            answer.finish()
            while not (piece := await answer.next()).done:
                spoken.append(len(piece.audio) / 2 / codec.sample_rate)
            first.append(piece.first_audio_seconds)
            answer.close()

        seconds, _ = asyncio.run(together(speak, size))
        rounds = len(first) // size  # the first of them warmed up
        results.append(row("speech decoder", size, sum(spoken) / rounds / seconds, UNIT, first[size:], OF))
    engine.stop()
    return [*results, one_by_one(model, table, voice, clauses)]


def answer_of(model: Parley) -> list[Clause]:
    """The answer's clauses in the checkpoint's tokens; token ids of its own where it has no tokenizer."""
    if model.tokenizer is None:
        pieces = [f" {word}" for word in ANSWER.split()]
        return split(list(range(len(pieces))), pieces)
    encoded = model.tokenizer.encode(ANSWER, add_special_tokens=False)
    # Where a token's text ends in the answer: what stands between two ends is that token's text.
    ends = [end for _, end in encoded.offsets]
    return split(encoded.ids, [ANSWER[begin:end] for begin, end in zip([0, *ends], ends, strict=False)])


@torch.inference_mode()
def one_by_one(model: Parley, table: torch.Tensor, voice: list[int], clauses: list[Clause]) -> Result:
    """The answer in one piece: its audio comes when all of it is made."""
    codec, frames = model.config.codec, 0
    began = time.perf_counter()
    for clause in clauses:
        codes = model.speech_decoder.speak(clause.ids, table)
        model.codec_decoder(codes[None], torch.tensor([voice]))
        frames += len(codes)
    seconds = time.perf_counter() - began
    spoken = frames * codec.hop_length / codec.sample_rate
    return row("whole answer", 1, spoken / seconds, UNIT, [seconds], OF, "no piece comes early")
