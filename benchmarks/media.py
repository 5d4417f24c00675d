"""What it costs to convert sound on its way through the gateway and the speech encoder, and on which thread it is done.

    python -m benchmarks.media [--times 200] [--json FILE]

Each row is one piece of sound of the length that it usually has, in noise. Anything that takes more than about 1 ms of
CPU time must not be on an event loop: everybody else's messages wait for it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.measuring import machine, percentile, table, write_json
from parley.config import preset
from parley.media.audio import to_pcm16
from parley.models.filter_bank import MelFrames, fbank
from services.gateway.media.audio import InputAudio
from services.gateway.media.audio_encoder import OUTPUT_RATE, AudioEncoder, OutputResampler

COLUMNS = ("what", "seconds", "p50_ms", "p95_ms", "times", "where")
WARM_UP = 5
LOOP, THREAD = "event loop", "thread"
MODEL_RATE = 16_000

Row = tuple[str, float, str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200, help="that each is measured, after a few that warm up")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    rows = [measured(*row, arguments.times) for row in (*filter_banks(), *resamplings(), *compressions())]
    print(table(rows, COLUMNS))
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    if arguments.json:
        write_json(arguments.json, {"machine": machine(), "results": rows})


def measured(what: str, seconds: float, where: str, convert: Callable[[], object], times: int) -> dict[str, object]:
    """CPU milliseconds, so that other processes disturb little."""
    taken = []
    for _ in range(WARM_UP + times):
        started = time.thread_time()
        convert()
        taken.append(1000 * (time.thread_time() - started))
    p50, p95 = (percentile(taken[WARM_UP:], share) for share in (0.5, 0.95))
    return {"what": what, "seconds": seconds, "p50_ms": p50, "p95_ms": p95, "times": times, "where": where}


def noise(seconds: float, rate: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate))).astype(np.float32)


def filter_banks() -> Iterator[Row]:
    """Of the speech encoder: in one bank for the utterance, and in a bank of its own, as it was before."""
    config = preset("nano").speech
    for seconds in (0.1, 1.0):
        samples, mel = noise(seconds, config.sample_rate), MelFrames(config)
        yield "filter bank", seconds, f"{THREAD} of the speech encoder", lambda m=mel, s=samples: m.feed(s)
        yield "filter bank, made anew", seconds, "before", lambda s=samples: fbank(s, config)


def resamplings() -> Iterator[Row]:
    for rate in (8_000, 24_000, 48_000):
        for seconds in (0.1, 1.0):  # the longest that a client may send at once
            audio, pcm = InputAudio(rate, MODEL_RATE, 1.0), to_pcm16(noise(seconds, rate)).tobytes()
            yield f"input of {rate} Hz to {MODEL_RATE}", seconds, LOOP, lambda a=audio, p=pcm: a.feed(p)
    output, pcm = OutputResampler(), to_pcm16(noise(0.2, MODEL_RATE)).tobytes()
    yield f"output of {MODEL_RATE} Hz to {OUTPUT_RATE}", 0.2, LOOP, lambda: output.feed(pcm, MODEL_RATE)


def compressions() -> Iterator[Row]:
    pcm = to_pcm16(noise(0.2, OUTPUT_RATE)).tobytes()
    for format in ("mp3", "opus", "flac"):
        encoder = AudioEncoder(format)
        yield f"output as {format}", 0.2, THREAD, lambda e=encoder: e.add(pcm)


if __name__ == "__main__":
    main()
