"""Checks all records of a source on several processes; results come in the order of the records.

Notable points:
- Processes are forked, as those of torch's `DataLoader` are: they share the index of the source, and read its files by
  `pread`. Each holds one range of records at a time.
- Only a bounded number of ranges is given out ahead, so a slow range does not let results pile up.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from tqdm import tqdm

from training.data.checking.duplicates import mark_duplicates
from training.data.checking.findings import Findings
from training.data.checking.progress import Progress
from training.data.checking.record_check import RecordCheck

RANGE = 32  # records
AHEAD = 4  # ranges a process, given out

_check: RecordCheck | None = None  # of this process


def scan(check: RecordCheck, jobs: int, progress: Progress) -> Findings:
    """What is in all records of the source of `check`, duplicates marked; goes on from what `progress` has.

    `jobs` 1 is this process alone. Raises `ValueError` if a process was killed: which records it was at.
    """
    records = len(check.mixed.source)
    found, done = progress.load()
    ranges = [(start, min(start + RANGE, records)) for start in range(done, records, RANGE)]
    jobs = min(jobs, len(ranges))
    parts = map(lambda bounds: check.range(*bounds), ranges) if jobs <= 1 else parallel(check, ranges, jobs)
    try:
        with tqdm(total=records, initial=done, desc=f"check {check.mixed.name}", unit="record") as bar:
            for (start, stop), part in zip(ranges, parts, strict=True):
                found.merge(part)
                done = stop
                bar.update(stop - start)
                bar.set_postfix(bad=found.reasons.total(), refresh=False)
                progress.keep(found, done)
    finally:
        progress.keep(found, done, now=True)
    mark_duplicates(found, check.mixed.source.where)
    return found


def parallel(check: RecordCheck, ranges: list[tuple[int, int]], jobs: int) -> Iterator[Findings]:
    context = multiprocessing.get_context("fork")
    waiting: deque[tuple[tuple[int, int], Future[Findings]]] = deque()
    with ProcessPoolExecutor(jobs, context, begin, (check, os.getpid())) as pool:
        try:
            for bounds in ranges:
                waiting.append((bounds, pool.submit(check_range, *bounds)))
                if len(waiting) > AHEAD * jobs:
                    yield result(*waiting.popleft())
            while waiting:
                yield result(*waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def result(bounds: tuple[int, int], future: Future[Findings]) -> Findings:
    try:
        return future.result()
    except BrokenProcessPool:
        raise ValueError(
            f"a process was killed while it read records {bounds[0]} to about {bounds[1] + AHEAD * RANGE}, by lack of "
            "memory or by a file that crashes its decoder; fewer --jobs need less memory"
        ) from None


def begin(check: RecordCheck, parent: int) -> None:
    global _check
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that shows the progress
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    _check = check


def end_with(parent: int) -> None:
    """Ends this process soon after its parent was killed; it would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def check_range(start: int, stop: int) -> Findings:
    assert _check is not None
    return _check.range(start, stop)
