"""The speech decoder's engine, compiled and in torch, beside the same clauses one after the other, each decoded whole.

Each of `batch` answers is two clauses of known words; the percentiles are of the time to an answer's first audio.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import torch

from benchmarks.engine_networks import measure_networks
from benchmarks.engines import Result
from benchmarks.rounds import engine_seconds, result, run_together
from parley.checkpoints import Checkpoint, load_model
from parley.export.graph import speech_decoder_graphs
from parley.models.parley import Parley
from parley.text.clauses import Clause, split
from services.engine.compiled import compiled
from services.speech_decoder.engine import SERVICE, Engine, Networks, warm_up
from services.speech_decoder.incremental_tokenizer import IncrementalTokenizer
from services.speech_decoder.service import EMBEDDINGS
from services.speech_decoder.settings import SpeechDecoderSettings
from services.speech_decoder.speakers import choose_speaker, speakers_of

ANSWER = "a small green triangle at the top, and a big yellow star at the bottom left."
UNIT, OF = "s of speech/s", "to the first audio"


def measure(checkpoint: Path, sizes: list[int]) -> list[Result]:
    torch.set_num_threads(1)
    opened = Checkpoint.open(checkpoint)
    model = load_model(opened, ["speech_decoder", "codec_decoder"])
    table = opened.tensor("language", EMBEDDINGS).float()
    codec = model.config.codec
    speaker = choose_speaker("", [], speakers_of(codec), codec)
    clauses = clauses_of(model)
    graphs = speech_decoder_graphs(model.speech_decoder, model.codec_decoder)
    results = []
    for runtime in "auto", "torch":
        settings = SpeechDecoderSettings(
            max_answers=max(sizes), max_batch=max(sizes), stop_seconds=0, threads=1, device="cpu", dtype="float32",
            runtime=runtime,
        )  # fmt: skip
        networks = Networks(*(compiled(graph, settings) for graph in graphs))
        engine = Engine(model.speech_decoder, model.codec_decoder, table, codec.sample_rate, settings, networks)
        warm_up(engine)
        engine.start()
        results += [measure_batch(engine, speaker, clauses, size) for size in sizes]
        engine.stop()
    return [*results, measure_whole(model, table, speaker, clauses), *measure_networks(graphs, sizes)]


def measure_batch(engine: Engine, speaker: list[int], clauses: list[Clause], size: int) -> Result:
    """`size` answers at once."""
    audio_seconds, first_audio = [], []

    async def synthesize() -> None:
        request = engine.open(speaker, seed=0)
        for clause in clauses:
            request.add_clause(clause)
        request.finish()
        while not (chunk := await request.next()).done:
            audio_seconds.append(len(chunk.audio) / 2 / engine.sample_rate)
        first_audio.append(chunk.first_audio_seconds)
        request.close()

    used = engine_seconds(SERVICE)
    seconds, _ = asyncio.run(run_together(synthesize, size))
    used = (engine_seconds(SERVICE) - used) / sum(audio_seconds)
    rounds = len(first_audio) // size  # the first of them warmed up
    note = f"{engine.settings.runtime}; engine's thread: {1000 * used:.1f} ms a s of speech"
    rate = sum(audio_seconds) / rounds / seconds
    return result("speech decoder", size, rate, UNIT, first_audio[size:], OF, note)


def clauses_of(model: Parley) -> list[Clause]:
    """The answer's clauses in the checkpoint's tokens; arbitrary token ids where it has no tokenizer."""
    if model.tokenizer is None:
        pieces = [f" {word}" for word in ANSWER.split()]
        return split(list(range(len(pieces))), pieces)
    tokenizer = IncrementalTokenizer(model.tokenizer)
    ids, pieces = zip(*tokenizer.push(ANSWER), *tokenizer.finish(), strict=True)
    return split(list(ids), list(pieces))


@torch.inference_mode()
def measure_whole(model: Parley, table: torch.Tensor, speaker: list[int], clauses: list[Clause]) -> Result:
    """The answer in one piece: its first audio comes when all of it is done."""
    codec, frames = model.config.codec, 0
    began = time.perf_counter()
    for clause in clauses:
        codes = model.speech_decoder.generate(clause.ids, table)
        model.codec_decoder(codes[None], torch.tensor([speaker]))
        frames += len(codes)
    seconds = time.perf_counter() - began
    audio_seconds = frames * codec.hop_length / codec.sample_rate
    return result("whole answer", 1, audio_seconds / seconds, UNIT, [seconds], OF, "no audio comes early")
