"""Makes speech for the cache before it is needed, on several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from training.data.checking.scan import end_with
from training.data.world.speech.cache import file, make

if TYPE_CHECKING:
    from training.data.world.voices import Voice

CHUNK = 4  # texts that a process is given at once


def not_made(said: Iterable[tuple[str, Voice]]) -> list[tuple[str, Voice]]:
    """Those that are not in the cache, each once."""
    new = {file(text, voice): (text, voice) for text, voice in said}
    return [each for path, each in new.items() if not path.exists()]


def make_all(said: list[tuple[str, Voice]], jobs: int) -> Iterator[None]:
    """Says all and keeps it; yields as often as one is done. Raises `ValueError` if a process was killed."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs, context, begin, (os.getpid(),)) as pool:
        try:
            yield from pool.map(make_one, said, chunksize=CHUNK)
        except BrokenProcessPool:
            raise ValueError("a process that made speech was killed; fewer --jobs need less memory") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that shows the progress
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()


def make_one(said: tuple[str, Voice]) -> None:
    make(*said, file(*said))
