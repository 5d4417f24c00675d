"""When questions end, and which are cut off: what was said decides, beside fixed waits, on the same clips.

    python -m benchmarks.end_of_turn --questions 120

No stack is started: the gateway's own voice activity detection and policy run over each clip, in chunks of a
microphone, and the language model of the checkpoint says at each pause how likely the question is complete, `--known`
milliseconds of audio later. `wait` counts from the last voiced sample of the clean recording; `heard late` is how much
of it passes until the detector counts silence. `pauses` is how often an answer would be computed, for each question.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.clip import Clip
from benchmarks.measuring import machine, percentile, table, write_json
from benchmarks.workload import VOICES, dialogues
from parley.checkpoints import load_model
from parley.media.messages import read_media
from parley.models.parley import Parley
from services.gateway.conversation.end_of_turn import EndOfTurn
from services.gateway.events.session import TurnTaking
from services.gateway.media.detector import FRAME_SECONDS, SAMPLE_RATE, Detector
from services.gateway.media.voice_activity import VoiceActivity
from services.gateway.settings import VadSettings

CHUNK = 1280  # bytes: 40 ms of a microphone
SILENCE = 3.0  # seconds behind a clip
FIXED = (0.2, 0.55, 0.9)  # seconds
COLUMNS = (
    "ends", "kind", "questions", "cut", "wait_p50_ms", "wait_p95_ms", "heard_late_p50_ms", "heard_late_p95_ms",
    "pauses",
)  # fmt: skip

Wait = Callable[[float | None], float]  # probability that the question is complete → seconds of silence


@dataclass
class Said:
    clip: Clip
    picture: bytes  # PNG, that it is about
    complete: dict[int, float | None] = field(default_factory=dict)  # pause, in milliseconds of the clip → probability


@dataclass(frozen=True)
class End:
    """`cut`: before the last voiced sample. Times in milliseconds, from that sample."""

    kind: str
    cut: bool
    wait: float
    heard_late: float
    pauses: int


class Microphone:
    """One clip, behind which it stays silent, through the gateway's voice activity detection."""

    def __init__(self, clip: Clip, settings: VadSettings, detector: Detector, known: float):
        """`known`: seconds of audio after a pause from which on it is known whether the question is complete."""
        noise = np.random.default_rng(0).normal(0, 10, round(SILENCE * SAMPLE_RATE))
        self.audio = np.concatenate([clip.audio, noise.astype("<i2")]).tobytes()
        self._vad = VoiceActivity(settings, SAMPLE_RATE, detector)
        self._known = round(known / FRAME_SECONDS)
        self._frames = 0  # since the pause
        self._pause_ms = -1

    async def listen(self, end_seconds: Callable[[int], float], pauses: list[tuple[int, bytes]]) -> tuple[int, float]:
        """`end_seconds`: of the pause at a millisecond, -1 while that is not known; asked at each frame.

        Returns where the question ended and how long it had been silent; `pauses` gets each, with the audio up to it.
        """
        question = b""
        for at in range(0, len(self.audio), CHUNK):
            segments = await self._vad.feed(self.audio[at : at + CHUNK], end_seconds=lambda: self._wait(end_seconds))
            for segment in segments:
                question += segment.audio
                if segment.kind == "pause":
                    self._pause_ms, self._frames = segment.at_ms, 0
                    pauses.append((segment.at_ms, question))
                if segment.kind == "end":
                    return segment.at_ms, segment.silent_seconds
        raise RuntimeError("no question was found in a clip, or it did not end")

    def _wait(self, end_seconds: Callable[[int], float]) -> float:
        self._frames += 1
        return end_seconds(self._pause_ms if self._frames >= self._known else -1)


class Questions:
    """Clips, and what the model says at the pauses in them."""

    def __init__(self, said: Iterable[Said], known: float):
        """`known`: seconds of audio after a pause from which on it is known what the model says."""
        self._settings, self._known, self._detector = VadSettings(), known, Detector()
        self.said = list(said)

    async def read(self, model: Parley) -> None:
        """All pauses, also those behind which a shorter wait would have ended the question."""
        for each in tqdm(self.said, "pauses", leave=False):
            pauses: list[tuple[int, bytes]] = []
            await self._microphone(each.clip).listen(lambda _: SILENCE - 0.5, pauses)
            each.complete = {at: complete(model, each.picture, audio) for at, audio in pauses}

    async def end(self, wait: Wait) -> list[End]:
        return [await self._end(each, wait) for each in self.said]

    async def _end(self, each: Said, wait: Wait) -> End:
        pauses: list[tuple[int, bytes]] = []
        at_ms, silent = await self._microphone(each.clip).listen(lambda pause: wait(each.complete.get(pause)), pauses)
        waited = at_ms - 1000 * (each.clip.voiced[1] + 1) / SAMPLE_RATE
        return End(each.clip.kind, waited < 0, waited, waited - 1000 * silent, len(pauses))

    def _microphone(self, clip: Clip) -> Microphone:
        return Microphone(clip, self._settings, self._detector, self._known)


def complete(model: Parley, picture: bytes, audio: bytes) -> float | None:
    """How likely speech (16-bit) is a complete question about a picture (a file)."""
    samples = np.frombuffer(audio, "<i2").astype(np.float32) / 32768
    content = [{"type": "image", "image": picture}, {"type": "audio", "audio": samples}]
    messages = read_media([{"role": "user", "content": content}], model.config)
    return model.reply(messages, max_tokens=0, speak=False).complete


def row(name: str, kind: str, ends: list[End]) -> dict[str, object]:
    whole = [end for end in ends if not end.cut]
    waits, late = [end.wait for end in whole], [end.heard_late for end in whole]
    return {
        "ends": name,
        "kind": kind,
        "questions": len(ends),
        "cut": f"{sum(end.cut for end in ends) / len(ends):.1%}",
        "wait_p50_ms": percentile(waits, 0.5),
        "wait_p95_ms": percentile(waits, 0.95),
        "heard_late_p50_ms": percentile(late, 0.5),
        "heard_late_p95_ms": percentile(late, 0.95),
        "pauses": sum(end.pauses for end in ends) / len(ends),
    }


async def measure(arguments: argparse.Namespace) -> list[dict[str, object]]:
    heard = dialogues(arguments.seed, voices=arguments.voices)
    said = (Said(clip, dialogue.picture) for dialogue in heard for clip in dialogue.clips)
    questions = Questions(islice(said, arguments.questions), arguments.known / 1000)
    policy = EndOfTurn(VadSettings())
    await questions.read(load_model(arguments.checkpoint))
    waits: dict[str, Wait] = {"by what was said": lambda p: policy.silence(p, TurnTaking())}
    waits |= {f"after {seconds:g} s": lambda _, seconds=seconds: seconds for seconds in FIXED}
    rows = []
    for name, wait in waits.items():
        ends = await questions.end(wait)
        kinds = sorted({end.kind for end in ends})
        rows += [row(name, "all", ends), *(row(name, kind, [e for e in ends if e.kind == kind]) for kind in kinds)]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--questions", type=int, default=120)
    parser.add_argument("--known", type=float, default=40, help="milliseconds of audio until the model has told")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--voices", choices=VOICES, default="espeak", help="natural: they need the extra `voices`")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    facts = {"machine": machine(), "rows": asyncio.run(measure(arguments))}
    print(facts["machine"])
    print(table(facts["rows"], COLUMNS))
    if arguments.json:
        write_json(arguments.json, facts)


if __name__ == "__main__":
    main()
