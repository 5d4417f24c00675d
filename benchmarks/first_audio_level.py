"""What so many users at once, or so many questions a second, have felt and cost: rows of the tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from benchmarks.first_audio_talk import PARTS
from benchmarks.measuring import percentile

COLUMNS = (
    *("order", "turns", "sessions", "first_audio_p50", "first_audio_p95", *PARTS, "rest"),
    *("cut", "discarded", "underruns", "questions", "unanswered", "errors", "cpu_ms", "client_late_ms"),
)
SERVICES = ("services.gateway", "speech_encoder", "vision_encoder", "llm_core", "speech_decoder")
USE_COLUMNS = ("order", "turns", "sessions", *SERVICES, "others", "all")
MANNER_COLUMNS = (
    "order",
    "turns",
    "sessions",
    "said",
    "questions",
    "cut",
    "cut_share",
    "first_audio_p50",
    "first_audio_p95",
)
PAUSES = (0.2, 0.4, 0.6, 0.8)  # seconds: the edges of the rows of pauses


@dataclass
class Level:
    """`questions`: facts of `Asked`. Of the published order only what there is."""

    order: str
    turns: str  # one of `first_audio_talk.TURNS`
    sessions: int
    questions: list[dict]
    errors: int = 0
    cpu: dict[str, float] = field(default_factory=dict)  # CPU seconds, by process
    discarded: float | None = None  # answers begun and thrown away; None: nobody counts them
    late: float = 0.0  # seconds, the most that the client was late with a chunk of a microphone

    @property
    def _key(self) -> dict[str, object]:
        return {"order": self.order, "turns": self.turns, "sessions": self.sessions}

    def felt(self) -> list[float]:
        """Milliseconds to the first audio, infinite without an answer; of questions that were not cut off."""
        answered = [1000 * each["first_audio"] if each["answered"] else math.inf for each in self._whole()]
        return answered + [math.inf] * self.errors

    def _whole(self) -> list[dict]:
        return [each for each in self.questions if not each["cut"]]

    def row(self) -> dict[str, object]:
        """Milliseconds; parts are medians; `cpu_ms` is of a question."""
        answered = [each for each in self._whole() if each["answered"]]
        count = len(self.questions)
        row = self._key | _percentiles(each["first_audio"] for each in answered)
        if answered and "parts" in answered[0]:
            row |= {part: percentile([1000 * each["parts"][part] for each in answered], 0.5) for part in PARTS}
            row["rest"] = percentile([1000 * each["rest"] for each in answered], 0.5)
            row["underruns"] = sum(each["underruns"] > 0 for each in answered)
            row["client_late_ms"] = 1000 * self.late
        return row | {
            "cut": sum(each["cut"] for each in self.questions),
            "discarded": "" if self.discarded is None else round(self.discarded),
            "questions": count,
            "unanswered": sum(not each["answered"] for each in self.questions),
            "errors": self.errors,
            "cpu_ms": 1000 * sum(self.cpu.values()) / max(1, count) if self.cpu else "",
        }

    def use(self) -> dict[str, object]:
        """CPU milliseconds a question, by process."""
        each = {name: 1000 * seconds / max(1, len(self.questions)) for name, seconds in self.cpu.items()}
        known = {name: each.pop(name, 0.0) for name in SERVICES}
        others = sum(each.values())
        return self._key | known | {"others": others, "all": others + sum(known.values())}

    def manners(self) -> list[dict[str, object]]:
        """A row for each manner of speaking, pauses by their length."""
        rows = []
        for said, belongs in _manners():
            questions = [each for each in self.questions if belongs(each)]
            if questions:
                cut = sum(each["cut"] for each in questions)
                facts = {"said": said, "questions": len(questions), "cut": cut, "cut_share": cut / len(questions)}
                whole = (each["first_audio"] for each in questions if each["answered"] and not each["cut"])
                rows.append(self._key | facts | _percentiles(whole))
        return rows


def _manners() -> Iterable[tuple[str, Callable[[dict], bool]]]:
    yield "plain", lambda each: each["kind"] == "plain"
    yield "trail", lambda each: each["kind"] == "trail"
    yield "pause", lambda each: each["kind"] == "pause"
    yield "pause inside", lambda each: each["kind"] == "pause" and not each["whole_before"]
    yield "pause after a whole one", lambda each: each["whole_before"]
    for low, high in pairwise(PAUSES):
        yield f"pause {low}–{high} s", lambda each, low=low, high=high: low <= each["pause"] < high


def _percentiles(seconds: Iterable[float]) -> dict[str, float]:
    values = [1000 * each for each in seconds]
    return {"first_audio_p50": percentile(values, 0.5), "first_audio_p95": percentile(values, 0.95)}
