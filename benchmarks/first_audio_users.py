"""Starts the users of the first-audio benchmark; gathers what they report and what the stack has used."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.first_audio_level import Level
from benchmarks.first_audio_talk import HANDS_FREE, MANUAL
from benchmarks.manners import KINDS
from benchmarks.process_use import Use
from benchmarks.workload import dialogues
from services.local.state import StackState, fetch

QUESTIONS = 6  # of a dialogue
QUESTION_SECONDS = 25.0  # that a question may take, its answer included
DISCARDED = "parley_answers_discarded_total"


class Dialogues:
    """What is asked, in folders: the same for each order of work, and another for each number of users."""

    def __init__(self, folder: Path, kinds: tuple[str, ...] = KINDS, voices: str = "espeak"):
        self._folder, self._kinds, self._voices = folder, kinds, voices

    def of(self, turns: str, sessions: int, each: int) -> Path:
        """For `sessions` users, each of whom asks `each` questions. With a fixed wait they are those of hands-free."""
        folder = self._folder / f"{turns == MANUAL}-{sessions}-{each}"
        if not folder.exists():
            seed = 2 * sessions + (turns == MANUAL)  # no picture is in a cache already
            wanted = sessions * (-(-each // QUESTIONS) + 1)  # some have fewer questions
            for number, dialogue in enumerate(islice(dialogues(seed, self._kinds, self._voices), wanted)):
                dialogue.save(folder / f"{number:03}")
        return folder


class Users:
    """Of one gateway. `state`: of its stack, where that runs on this machine."""

    def __init__(self, address: str, state: StackState | None, max_tokens: int):
        self._address, self._state, self._max_tokens = address, state, max_tokens

    def run(self, folder: Path, turns: str, sessions: int, each: int) -> Level:
        """`sessions` users at once, each of whom asks `each` questions."""
        options = ["--sessions", str(sessions), "--turns", str(each)]
        return self._run(folder, turns, sessions, options, each * QUESTION_SECONDS)

    def come(self, folder: Path, rate: float, seconds: float, seed: int) -> Level:
        """Questions that come by chance, `rate` a second, for so long."""
        options = ["--rate", str(rate), "--seconds", str(seconds), "--seed", str(seed)]
        return self._run(folder, HANDS_FREE, 0, options, seconds + 2 * QUESTION_SECONDS)

    def _run(self, folder: Path, turns: str, sessions: int, options: list[str], limit: float) -> Level:
        command = [sys.executable, "-m", "benchmarks.first_audio_client", "--address", self._address]
        command += ["--dialogues", str(folder), "--max-tokens", str(self._max_tokens), "--detection", turns]
        command += options
        before, discarded = self._use(), self._discarded()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60 + limit)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return Level(
            "services",
            turns,
            sessions,
            [event for event in events if event["what"] == "question"],
            sum(event["what"] == "error" for event in events),
            self._use().since(before),
            None if discarded is None else self._discarded() - discarded,
            events[-1]["late"],
        )

    def _use(self) -> Use:
        return Use() if self._state is None else Use.of(self._state.supervisor_pid)

    def _discarded(self) -> float | None:
        """Answers begun and thrown away so far; None where the gateway does not say."""
        if self._state is None:
            return None
        page = fetch(f"http://{self._state.http}/metrics", 5.0).decode()
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        counts = [sample.value for sample in samples if sample.name == DISCARDED]
        return sum(counts) if counts else None
