"""The rate of questions up to which a stack answers in time, when users do not wait for each other."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from benchmarks.first_audio_orders import stack
from benchmarks.first_audio_talk import HANDS_FREE
from benchmarks.first_audio_users import Dialogues
from benchmarks.measuring import percentile, table

AIM_MS = 1000.0  # that the p95 of the first audio is to keep
DIALOGUES = 48  # over and over, where more are asked
QUESTIONS = 20  # at each rate, at least, on average
RATE_COLUMNS = (
    *("rate", "kept", "first_audio_p50", "first_audio_p95", "end_of_turn", "cut", "discarded", "underruns"),
    *("questions", "unanswered", "errors", "cpu_ms", "client_late_ms"),
)


def rates(keeps: Callable[[float], bool], first: float, steps: int) -> tuple[float, float]:
    """→ the highest rate that was kept (0: none) and the lowest that was not (infinite: none), after so many tries.

    The rate doubles until it is not kept; then the middle between the two is tried.
    """
    low, high, rate = 0.0, math.inf, first
    for _ in range(steps):
        if keeps(rate):
            low = rate
        else:
            high = rate
        rate = 2 * low if math.isinf(high) else (low + high) / 2
    return low, high


def find_rate(arguments: argparse.Namespace, dialogues: Dialogues, facts: dict) -> None:
    """Adds to the facts: a row for each rate that was tried, and the two between which p95 breaks the aim."""
    rows, facts["questions"] = [], []
    folder = dialogues.of(HANDS_FREE, DIALOGUES, 6)
    with stack(arguments, dialogues, facts) as users:

        def keeps(rate: float) -> bool:
            level = users.come(folder, rate, max(arguments.seconds, QUESTIONS / rate), seed=len(rows))
            felt = percentile(level.felt(), 0.95)
            facts["questions"] += [each | {"rate": rate} for each in level.questions]
            rows.append(level.row() | {"rate": rate, "kept": felt <= AIM_MS, "first_audio_p95": felt})
            print(table(rows[-1:], RATE_COLUMNS), flush=True)
            return felt <= AIM_MS

        kept, broken = rates(keeps, arguments.rate, arguments.steps)
    facts["rates"] = rows
    facts["rate"] = {"kept": kept, "broken": broken, "p95_ms": AIM_MS}
