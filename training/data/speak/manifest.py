"""`manifest.json`: what a folder of spoken records was made from and how, and what is in it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MADE_FROM = ("source", "engine", "options")  # what must be the same where a run goes on
MAY_CHANGE = {("source", "path"), ("engine", "url")}  # a folder or a server may have moved


@dataclass
class Summary:
    """What is in the folder, counted from its records."""

    records: Counter = field(default_factory=Counter)  # file → records in it
    negatives: Counter = field(default_factory=Counter)  # kind → records
    cuts: Counter = field(default_factory=Counter)  # "pause" or "clause" → records
    voices: Counter = field(default_factory=Counter)  # voice → questions
    recordings: Counter = field(default_factory=Counter)  # noise, music, room or clean → questions
    questions: int = 0
    seconds: float = 0.0

    def add(self, line: dict) -> None:
        """Counts a line of the log."""
        self.seconds += line["seconds"]
        for file, record in line["records"].items():
            self.records[file] += 1
            if file == "negatives":
                self.negatives[record["set"]] += 1
            elif file == "cut":
                self.cuts[record["cut"]["at"]] += 1
            else:
                self._add_questions(record["recordings"])

    def _add_questions(self, recordings: Iterable[dict | None]) -> None:
        for recording in filter(None, recordings):
            self.questions += 1
            self.voices[recording["voice"]] += 1
            effects = [name for name in ("noise", "music", "room") if name in recording]
            self.recordings.update(effects or ["clean"])

    def describe(self) -> dict[str, Any]:
        return {
            "records": dict(self.records), "questions": self.questions, "seconds": round(self.seconds, 1),
            "negatives": dict(self.negatives), "cut_at": dict(self.cuts), "voices": dict(sorted(self.voices.items())),
            "recordings": dict(self.recordings),
        }  # fmt: skip


def write_manifest(folder: Path, made_from: dict, finished: bool, **results: Any) -> None:
    """Replaces the manifest at once."""
    text = json.dumps({"made_by": "parley data speak", **made_from, "finished": finished, **results}, indent=2)
    write_whole(folder / "manifest.json", text + "\n")


def write_whole(file: Path, text: str) -> None:
    """Writes a file that is there whole or not at all."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, file)


def check_same(folder: Path, made_from: dict) -> None:
    """Raises `ValueError` if the folder was made from something else, or in another way, or is no such folder."""
    file = folder / "manifest.json"
    if not file.exists():
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} holds other files; choose a folder that is empty or not there yet")
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        differing = list(differences({key: before[key] for key in MADE_FROM}, json.loads(json.dumps(made_from))))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{file} is no manifest of spoken records; choose another folder") from None
    if differing:
        raise ValueError(
            f"{folder} was made in another way: {'; '.join(differing)}. Choose another folder, or the same options"
        )


def differences(before: dict, now: dict) -> Iterable[str]:
    for part in MADE_FROM:
        for key in sorted(before[part].keys() | now[part].keys()):
            old, new = before[part].get(key), now[part].get(key)
            if old != new and (part, key) not in MAY_CHANGE:
                yield f"{part} {key} was {shortened(old)}, now {shortened(new)}"


def shortened(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
