"""The engines of speech and pictures at the sizes of a real model: how many conversations a device serves."""

from __future__ import annotations

import asyncio

import numpy as np
import torch

from benchmarks import engine_speech_decoder, engine_speech_encoder, engine_vision_encoder
from benchmarks.engines import Result
from benchmarks.roofline import Row, Setting
from benchmarks.roofline_models import num_parameters, random_model
from parley.export.graph import vision_graph
from parley.text.clauses import Clause
from services.speech_decoder.engine import Engine as SpeechDecoder
from services.speech_decoder.engine import warm_up as warm_up_speech_decoder
from services.speech_decoder.settings import SpeechDecoderSettings
from services.speech_decoder.speakers import choose_speaker, speakers_of
from services.speech_encoder.backends.local import LocalBackend as SpeechBackend
from services.speech_encoder.engine import Engine as SpeechEncoder
from services.speech_encoder.engine import warm_up as warm_up_speech_encoder
from services.speech_encoder.settings import SpeechEncoderSettings
from services.vision_encoder.backends.local import LocalBackend as VisionBackend
from services.vision_encoder.engine import Engine as VisionEncoder
from services.vision_encoder.settings import VisionEncoderSettings

CLAUSE_TOKENS, CLAUSE_SECONDS = 8, 4.0


def measure_speech_decoder(setting: Setting) -> list[Row]:
    """Seconds of speech a second. The limit is that of the steps that make its codes, without the codec."""
    engine, speaker = speech_decoder(setting)
    clauses = [clause_of(list(range(CLAUSE_TOKENS)))] * 2
    step = num_parameters(engine.decoder.ar)
    engine.start()
    try:
        rows = []
        for count in setting.rows:
            steps = setting.limits.steps_per_second(step * setting.dtype.itemsize, step, count)
            found = engine_speech_decoder.measure_batch(engine, speaker, clauses, count)
            rows.append(row("speech_decoder", found, count * steps / engine.frame_rate))
        return rows
    finally:
        engine.stop()


def speech_decoder(setting: Setting) -> tuple[SpeechDecoder, list[int]]:
    """(An engine that is warmed up, a speaker). A clause of random weights does not end by itself."""
    model = random_model(setting, ["speech_decoder", "codec_decoder"])
    language, codec = setting.config.language, setting.config.codec
    table = torch.randn(language.vocab_size, language.hidden_size, device=setting.device, dtype=setting.dtype)
    settings = SpeechDecoderSettings(
        max_answers=max(setting.rows), max_batch=max(setting.rows), max_clause_seconds=CLAUSE_SECONDS, stop_seconds=0,
        **common(setting),
    )  # fmt: skip
    # The codec computes in fp32, as the service loads it.
    engine = SpeechDecoder(model.speech_decoder, model.codec_decoder.float(), table, codec.sample_rate, settings)
    with torch.inference_mode():
        warm_up_speech_decoder(engine)
    return engine, choose_speaker("", [], speakers_of(codec), codec)


def clause_of(ids: list[int]) -> Clause:
    return Clause(ids, [" word"] * len(ids), len(ids))


def measure_speech_encoder(setting: Setting) -> list[Row]:
    """Seconds of speech a second."""
    model = random_model(setting, ["speech_encoder", "speech_adapter", "ctc_head"])
    settings = SpeechEncoderSettings(
        max_utterances=max(setting.rows), max_batch=max(setting.rows), stop_seconds=0, **common(setting)
    )
    engine = SpeechEncoder(SpeechBackend(model, settings), setting.config.speech, settings)
    warm_up_speech_encoder(engine)
    count = int(engine_speech_encoder.UTTERANCE_SECONDS * setting.config.speech.sample_rate)
    samples = (0.1 * np.random.default_rng(0).standard_normal(count)).astype(np.float32)
    engine.start()
    try:
        found = [engine_speech_encoder.measure_batch(engine, samples, count) for count in setting.rows]
    finally:
        engine.stop()
    return [row("speech_encoder", each) for each in found]


def measure_vision_encoder(setting: Setting) -> list[Row]:
    """Pictures of one tile a second; the last row is a picture of as many tiles as the model allows."""
    model = random_model(setting, ["vision_encoder", "vision_adapter"])
    settings = VisionEncoderSettings(max_batch=16, stop_seconds=0, **common(setting))
    engine = VisionEncoder(VisionBackend(vision_graph(model).network, settings), settings)
    side, tiles = setting.config.vision.image_size, setting.config.vision.max_tiles + 1
    engine.start()
    try:
        found = [engine_vision_encoder.measure_batch(engine, count, side) for count in setting.rows]
        asyncio.run(engine.encode(torch.zeros(tiles, 3, side, side)))
        whole = engine_vision_encoder.measure_batch(engine, 1, side, tiles)
    finally:
        engine.stop()
    return [*(row("vision_encoder", each) for each in found), row("vision_encoder", whole)]


def common(setting: Setting) -> dict[str, object]:
    name = str(setting.dtype).removeprefix("torch.")
    return {"device": str(setting.device), "dtype": name, "threads": torch.get_num_threads(), "runtime": "torch"}


def row(part: str, found: Result, limit: float = float("nan")) -> Row:
    return Row(part, found.of, found.batch, found.rate, found.unit, found.p50_ms, found.p95_ms, found.count, limit)
