"""Makes items on several threads, writes down each as soon as it is made, and counts what was not made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TextIO

from tqdm import tqdm

from training.data.record_error import RecordError
from training.data.speak.done_log import DoneLog
from training.data.speak.engine import SpeechError
from training.data.speak.making import Made
from training.data.speak.questions import LeftOutError

FAILED_IN_A_ROW = 20  # texts that are not spoken, after which no other is tried
NAMED = 20  # failures in the manifest


@dataclass
class Outcome:
    """What was not made, and why."""

    left_out: Counter = field(default_factory=Counter)  # reason → records
    failed: int = 0  # records with a text that was not spoken
    bad: int = 0  # records that are wrong
    named: list[str] = field(default_factory=list)  # the first of the failed and the bad

    def describe(self) -> dict[str, Any]:
        """For the manifest."""
        left_out = dict(self.left_out.most_common())
        return {"left_out": left_out, "failed": self.failed, "bad": self.bad, "first": self.named}


@dataclass
class Job:
    """`where` names an item. `failures` gets a JSON line for each record that failed or is bad."""

    make: Callable[[int], Made]
    where: Callable[[int], str]
    log: DoneLog
    failures: TextIO
    jobs: int
    outcome: Outcome = field(default_factory=Outcome)
    in_a_row: int = 0

    def run(self, items: Iterable[int], progress: tqdm) -> Outcome:
        """Makes all `items`. Raises `ValueError` if no text can be spoken; what was made by then is kept."""
        waiting, running = iter(items), {}
        pool = ThreadPoolExecutor(self.jobs, thread_name_prefix="speak")
        try:
            while True:
                for item in islice(waiting, 2 * self.jobs - len(running)):
                    running[pool.submit(self.make, item)] = item
                if not running:
                    return self.outcome
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    self._take(running.pop(done), done)
                    progress.update()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _take(self, item: int, done: Future[Made]) -> None:
        try:
            made = done.result()
        except LeftOutError as error:
            self.outcome.left_out[str(error)] += 1
        except RecordError as error:
            self.outcome.bad += 1
            self._name(item, error)
        except SpeechError as error:
            self.outcome.failed += 1
            self._name(item, error)
            self._stop_if_hopeless(error)
        else:
            self.in_a_row = 0
            self.log.append(item, {"records": made.records, "seconds": round(made.seconds, 3)})

    def _name(self, item: int, error: Exception) -> None:
        where = self.where(item)
        self.failures.write(json.dumps({"where": where, "reason": str(error)}, ensure_ascii=False) + "\n")
        if len(self.outcome.named) < NAMED:
            self.outcome.named.append(f"{where}: {error}")

    def _stop_if_hopeless(self, error: SpeechError) -> None:
        self.in_a_row += 1
        if self.in_a_row >= FAILED_IN_A_ROW:
            raise ValueError(
                f"{self.in_a_row} records in a row were not spoken, the last: {error}; what is done is kept, and the "
                "same command goes on"
            )
