"""Memory and descriptors of a stack's processes, over time."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import psutil

from services.local import memory, processes


@dataclass(frozen=True)
class Sample:
    """`memory`: MB by process, its own (not shared) pages; `descriptors`: how many it has open."""

    at: float  # `time.time()`
    memory: dict[str, float]
    descriptors: dict[str, int]

    @property
    def total(self) -> float:
        """MB."""
        return sum(self.memory.values())

    @classmethod
    def of(cls, supervisor: int) -> Sample:
        """Of a process and all below it. Processes of one name are told apart by the order in which they started."""
        held: dict[str, float] = {}
        descriptors: dict[str, int] = {}
        for pid in [supervisor, *sorted(processes.descendants(supervisor))]:
            try:
                process = psutil.Process(pid)
                name = _free_name(memory.name_of(process.cmdline()), held)
                held[name], descriptors[name] = process.memory_full_info().uss / 1e6, process.num_fds()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return cls(time.time(), held, descriptors)


def _free_name(name: str, taken: dict[str, float]) -> str:
    count = sum(each.partition(" ")[0] == name for each in taken)
    return f"{name} {count + 1}" if count else name


class Sampler:
    """Samples every `period` seconds, as long as the context."""

    def __init__(self, supervisor: int, period: float):
        self._supervisor, self._period = supervisor, period
        self.samples: list[Sample] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self.samples.append(Sample.of(self._supervisor))
            if self._ended.wait(self._period):
                return
