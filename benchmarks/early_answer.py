"""What an answer that is begun at a pause costs the engines of the speech encoder and the LLM core.

    python -m benchmarks.early_answer [--checkpoint DIR] [--times 30] [--json FILE]

Each engine is alone, one question at a time. The speech encoder has had up to `--said` seconds of speech: from a pause
to its tail, and from the end to the last embeddings. The LLM core has a history of `--history` tokens: from the end of
the question to the state, for a question that nothing is known of, for one whose beginning was prefilled as it was
spoken, and for one that goes on behind a pause at which its answer was begun: that one is given up halfway.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.engine_llm import always_speech
from benchmarks.measuring import machine, percentile, table, write_json
from parley.checkpoints import load_model
from services.llm_core.pieces import Piece
from services.llm_core.position_keys import position_keys
from services.llm_core.sampler import Sampling
from services.llm_core.settings import LlmCoreSettings
from services.llm_core.torch_engine import TorchEngine as LlmCore
from services.speech_encoder.backends.local import local_backend
from services.speech_encoder.engine import Engine as SpeechEncoder
from services.speech_encoder.engine import warm_up
from services.speech_encoder.settings import SpeechEncoderSettings

COLUMNS = ("what", "p50_ms", "p95_ms", "times", "prompt", "cached")
WARM_UP = 3
MESSAGE_SECONDS = 0.1
STEP_SAMPLES = 400  # by which each utterance is shorter than the one before: pauses fall anywhere in a chunk
BEFORE, TAIL, AFTER = 30, 3, 12  # embeddings of speech: in front of the pause, at its end, behind it
BEGUN = 5  # tokens of an answer that is given up
OPENING, CLOSING = [2], [3]  # tokens in place of a template's

Once = Callable[[int], Awaitable[dict[str, float]]]  # number → {"ms": …} and what else the row has


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--times", type=int, default=30, help="that each is measured, after three that warm up")
    parser.add_argument("--said", type=float, default=2.0, help="seconds of speech in front of the pause, at most")
    parser.add_argument("--history", type=int, default=300, help="tokens in front of the question")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [*asyncio.run(speech_encoder(arguments)), *asyncio.run(llm_core(arguments))]
    print(table(rows, COLUMNS))
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    if arguments.json:
        write_json(arguments.json, {"machine": machine(), "checkpoint": str(arguments.checkpoint), "results": rows})


async def in_turns(works: dict[str, Once], times: int) -> list[dict[str, object]]:
    """A row for each work. All are done once, then all once more: other processes disturb them alike."""
    found = {what: [] for what in works}
    for number in range(WARM_UP + times):
        for what, once in works.items():
            found[what].append(await once(number))
    return [summary(what, measured[WARM_UP:]) for what, measured in found.items()]


def summary(what: str, measured: list[dict[str, float]]) -> dict[str, object]:
    taken = [each["ms"] for each in measured]
    p50, p95 = (percentile(taken, share) for share in (0.5, 0.95))
    return {"what": what, "p50_ms": p50, "p95_ms": p95, "times": len(taken), **measured[-1]}


async def speech_encoder(arguments: argparse.Namespace) -> list[dict[str, object]]:
    model = load_model(arguments.checkpoint, ["speech_encoder", "speech_adapter", "ctc_head"])
    settings = SpeechEncoderSettings(
        max_utterances=1, max_batch=1, stop_seconds=0, threads=1, device="cpu", dtype="float32"
    )
    engine = SpeechEncoder(local_backend(model, settings), model.config.speech, settings)
    warm_up(engine)
    engine.start()
    rate = model.config.speech.sample_rate
    samples = (0.1 * np.random.default_rng(0).standard_normal(int(arguments.said * rate))).astype(np.float32)

    async def once(number: int, paused: bool) -> dict[str, float]:
        utterance, said = engine.open(), samples[: len(samples) - number * STEP_SAMPLES]
        for start in range(0, len(said), int(MESSAGE_SECONDS * rate)):
            utterance.feed(said[start : start + int(MESSAGE_SECONDS * rate)])
        utterance.pause(0)  # its answer comes behind all chunks: they are done
        while not (await utterance.next()).output.tail:
            pass
        started = time.perf_counter()
        utterance.pause(1) if paused else utterance.finish()
        await utterance.next()
        taken = time.perf_counter() - started
        utterance.close()
        return {"ms": 1000 * taken}

    works = {
        "speech encoder: a pause to its tail": lambda number: once(number, paused=True),
        "speech encoder: the end to the last embeddings": lambda number: once(number, paused=False),
    }
    rows = await in_turns(works, arguments.times)
    engine.stop()
    return rows


async def llm_core(arguments: argparse.Namespace) -> list[dict[str, object]]:
    model = load_model(arguments.checkpoint, ["language"])
    config = model.config.language
    settings = LlmCoreSettings(num_slots=1, max_queued=1, stop_seconds=0, device="cpu", threads=1)
    head = always_speech(config.hidden_size)
    engine = LlmCore(model.language, head, config, model.tokenizer, frozenset(), None, settings)
    engine.start()
    works = {
        f"LLM core: {what}": lambda number, ask=ask: ask(engine, Question(number, arguments.history, config))
        for what, ask in {
            "nothing is known": unknown,
            "prefilled while it was spoken": prefilled,
            "behind an answer that is given up": given_up,
        }.items()
    }
    rows = await in_turns(works, arguments.times)
    engine.stop()
    return rows


class Question:
    """A session of its own: random ids of a history, random embeddings of speech."""

    def __init__(self, number: int, history: int, config):
        generator = torch.Generator().manual_seed(number)
        ids = torch.randint(4, config.vocab_size, (history,), generator=generator).tolist()
        speech = torch.randn(BEFORE + TAIL + AFTER, config.hidden_size, generator=generator) * 0.05
        pieces = [Piece(position_keys(each), each) for each in speech.split([BEFORE, TAIL, AFTER])]
        self.session = f"{number}-{time.monotonic_ns()}"
        self.history, (self.before, self.tail, self.after) = [Piece(ids), Piece(OPENING)], pieces


async def state_of(request, started: float) -> dict[str, float]:
    """From then to the state. Only it is asked for, so `Done` follows, with the counts."""
    ms = 0.0
    async for event in request.events():
        ms = ms or 1000 * (time.perf_counter() - started)
        done = event
    return {"ms": ms, "prompt": done.prompt_tokens, "cached": done.cached_tokens}


async def unknown(engine: LlmCore, question: Question) -> dict[str, float]:
    started = time.perf_counter()
    request = engine.open(question.session, "t", [*question.history, question.before, question.after], Sampling())
    request.respond([Piece(CLOSING)], only_state=True)
    return await state_of(request, started)


async def prefilled(engine: LlmCore, question: Question) -> dict[str, float]:
    request = engine.open(question.session, "t", [*question.history, question.before], Sampling())
    while not (sequences := list(engine._sequences.values())) or sequences[0].pending:
        await asyncio.sleep(0.001)
    request.post("append", [])  # is applied once the step is over that computes the last of it
    while request.applied < request.posted:
        await asyncio.sleep(0.001)
    started = time.perf_counter()
    request.append([question.after])
    request.respond([Piece(CLOSING)], only_state=True)
    return await state_of(request, started)


async def given_up(engine: LlmCore, question: Question) -> dict[str, float]:
    early = engine.open(question.session, "t", [*question.history, question.before], Sampling(max_tokens=200))
    early.respond([question.tail, Piece(CLOSING)])
    events = early.events()
    for _ in range(1 + BEGUN):
        await anext(events)
    return await unknown(engine, question)  # a new request of the same turn


if __name__ == "__main__":
    main()
