"""What the processes of a stack have used of the machine."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import psutil

from services.local import memory, processes


@dataclass
class Use:
    """What the processes of a stack have used: CPU seconds and memory (proportional share, MB), by name."""

    cpu: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, supervisor: int) -> Use:
        cpu: defaultdict[str, float] = defaultdict(float)
        for pid in [supervisor, *processes.descendants(supervisor)]:
            try:
                process = psutil.Process(pid)
                times = process.cpu_times()
                cpu[memory.name_of(process.cmdline())] += times.user + times.system
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return cls(dict(cpu), {name: share for name, (_, share) in memory.by_process(supervisor).items()})

    def since(self, before: Use) -> dict[str, float]:
        """CPU seconds."""
        return {name: round(value - before.cpu.get(name, 0.0), 2) for name, value in self.cpu.items()}
