"""A run of `parley data speak`: begins or goes on, makes what is missing, writes records and manifest."""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from training.data.sample import Sample
from training.data.source import Source
from training.data.speak.done_log import DoneLog
from training.data.speak.draws import draws
from training.data.speak.engine import Engine
from training.data.speak.job import Job, Outcome
from training.data.speak.making import Maker
from training.data.speak.manifest import Summary, check_same, write_manifest
from training.data.speak.negatives import Negatives
from training.data.speak.output import OutputFolder
from training.data.speak.recording import Recording
from training.data.speak.retry import Retries
from training.data.speak.settings import SpeakSettings

FILES = ("records", "negatives", "cut")  # <name>.jsonl, each only if there is a record in it


@dataclass(frozen=True)
class SpeakRun:
    """All that a run needs. `path`: of the source, for the manifest."""

    path: Path
    source: Source[Sample]
    settings: SpeakSettings
    engine: Engine
    recording: Recording
    sentences: tuple[str, ...]
    out: Path
    jobs: int = 4
    retries: Retries = field(default_factory=Retries)

    def run(self) -> tuple[Summary, Outcome]:
        """Goes on where an earlier run ended.

        Raises `ValueError` if the folder was made from other records or with other settings, or if nothing can be
        spoken. When it is interrupted, all that was made by then is kept.
        """
        made_from = self.made_from()
        check_same(self.out, made_from)
        self.out.mkdir(parents=True, exist_ok=True)
        items = len(self.source) + self.settings.negatives
        with ExitStack() as stack:
            log = stack.enter_context(DoneLog(self.out / "done.jsonl", items))
            stack.callback(self._stop)
            write_manifest(self.out, made_from, finished=False)
            outcome = self._make(log, [item for item in self.chosen() if item not in log])
            summary = self._collect(log)
        write_manifest(
            self.out, made_from, finished=not outcome.failed, counts=summary.describe(), not_made=outcome.describe()
        )
        return summary, outcome

    def chosen(self) -> list[int]:
        """The items that are made: a share of the records, and all negatives."""
        records = len(self.source)
        drawn = draws(self.settings.seed, "share").random(records) < self.settings.share
        return [*np.flatnonzero(drawn).tolist(), *range(records, records + self.settings.negatives)]

    def made_from(self) -> dict[str, Any]:
        """The part of the manifest that decides what is made."""
        return {
            "source": {
                "path": os.path.relpath(self.path, self.out),
                "records": len(self.source),
                "fingerprint": self.source.fingerprint,
            },
            "engine": self.engine.describe(),
            "options": self.settings.model_dump(mode="json") | {
                "noise": self.recording.noise.fingerprint if self.recording.noise else "generated",
                "music": self.recording.music.fingerprint if self.recording.music else None,
                "unaddressed": fingerprint(self.sentences) if self.sentences else None,
            },
        }  # fmt: skip

    def _make(self, log: DoneLog, items: list[int]) -> Outcome:
        negatives = Negatives(self.recording, self.sentences)
        maker = Maker(
            self.source, self.settings, self.engine, self.retries, self.recording, negatives, OutputFolder(self.out)
        )
        with (
            (self.out / "failed.jsonl").open("w", encoding="utf-8") as failures,
            tqdm(total=len(items) + len(log), initial=len(log), unit="record", desc="speak") as progress,
        ):
            return Job(maker, self._where, log, failures, self.jobs).run(items, progress)

    def _where(self, item: int) -> str:
        records = len(self.source)
        return self.source.where(item) if item < records else f"negative-{item - records}"

    def _collect(self, log: DoneLog) -> Summary:
        """Writes the records in the order of their items."""
        summary, counts = Summary(), Counter()
        partial = {name: self.out / f"{name}.jsonl.partial" for name in FILES}
        with ExitStack() as stack:
            files = {name: stack.enter_context(path.open("w", encoding="utf-8")) for name, path in partial.items()}
            for line in log:
                summary.add(line)
                for name, record in line["records"].items():
                    files[name].write(json.dumps(record, ensure_ascii=False) + "\n")
                    counts[name] += 1
        for name, path in partial.items():
            if counts[name]:
                os.replace(path, self.out / f"{name}.jsonl")
            else:
                path.unlink()
        return summary

    def _stop(self) -> None:
        self.retries.stopped.set()
        self.engine.close()


def fingerprint(lines: tuple[str, ...]) -> str:
    return blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
