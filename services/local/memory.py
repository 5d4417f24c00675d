"""How much memory each process of a stack holds."""

from __future__ import annotations

import psutil

from services.local import processes


def by_process(supervisor_pid: int) -> dict[str, tuple[float, float]]:
    """Process → (resident MB, proportional share in MB), largest first, then `total`.

    Resident memory counts what processes share (the code of torch, for one) in each of them; the share does not.
    """
    rows: list[tuple[str, float, float]] = []
    for pid in [supervisor_pid, *processes.descendants(supervisor_pid)]:
        try:
            process = psutil.Process(pid)
            info = process.memory_full_info()
            rows.append((name_of(process.cmdline()), info.rss / 1e6, info.pss / 1e6))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    report: dict[str, tuple[float, float]] = {}
    for name, resident, share in sorted(rows, key=lambda row: -row[1]):
        before = report.get(name, (0.0, 0.0))
        report[name] = (round(before[0] + resident, 1), round(before[1] + share, 1))
    report["total"] = (round(sum(row[1] for row in rows), 1), round(sum(row[2] for row in rows), 1))
    return report


def name_of(command: list[str]) -> str:
    """`ray::ServeReplica:llm_core:llm_core` → `llm_core`, `python -m services.gateway` → `services.gateway`, or the
    name of the program.

    A process may have replaced its command line by a title of one string. Ray adds the method that an actor runs.
    """
    if not command:
        return "?"
    if "ServeReplica:" in command[0]:
        return command[0].split(":")[3]
    if command[0].startswith("ray::"):
        return command[0].partition(".")[0]
    if "-m" in command:
        return command[command.index("-m") + 1]
    scripts = [part for part in command if part.endswith(".py")]
    return (scripts[0] if scripts else command[0].partition(" ")[0]).rpartition("/")[2]
