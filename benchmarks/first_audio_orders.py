"""The orders of work that the first-audio benchmark compares: services, one process, and the published one."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import REGISTRY

from benchmarks.clip import Dialogue
from benchmarks.first_audio_client import Reports, converse
from benchmarks.first_audio_level import COLUMNS, Level
from benchmarks.first_audio_published import published
from benchmarks.first_audio_talk import Talk
from benchmarks.first_audio_users import DISCARDED, Dialogues, Users
from benchmarks.measuring import everybody_let_in, table
from benchmarks.one_process import OneProcess
from services.local import memory
from services.local.stack import LocalStack

WARM_UP = 2  # questions


@contextlib.contextmanager
def stack(arguments: argparse.Namespace, dialogues: Dialogues, facts: dict) -> Iterator[Users]:
    """Users of the gateway that was named, or of a stack that lives as long as the context; warmed up."""
    with contextlib.ExitStack() as context:
        if arguments.address:
            users = Users(arguments.address, None, arguments.max_tokens)
        else:
            context.enter_context(everybody_let_in())
            folder = context.enter_context(tempfile.TemporaryDirectory())
            state = context.enter_context(LocalStack(arguments.checkpoint, Path(folder), 0, 0)).state
            users = Users(state.gateway, state, arguments.max_tokens)
            facts["startup_s"] = state.startup_seconds
        for turns in arguments.detection:
            users.run(dialogues.of(turns, 1, WARM_UP), turns, 1, WARM_UP)
        yield users
        if not arguments.address:
            by_process = memory.by_process(state.supervisor_pid)
            facts["memory_mb"] = {name: resident for name, (resident, _) in by_process.items()}


def services(arguments: argparse.Namespace, dialogues: Dialogues, facts: dict) -> list[Level]:
    each = arguments.turns
    with stack(arguments, dialogues, facts) as users:
        return [
            shown(users.run(dialogues.of(turns, sessions, each), turns, sessions, each))
            for sessions in arguments.sessions
            for turns in arguments.detection
        ]


def shown(level: Level) -> Level:
    """Its row is printed at once: a run that is ended early has said what it found."""
    print(table([level.row()], COLUMNS), flush=True)
    return level


class UsersInside:
    """As `Users`, of conversations in this process."""

    def __init__(self, process: OneProcess, max_tokens: int):
        self._process, self._max_tokens = process, max_tokens

    async def run(self, folder: Path, turns: str, sessions: int, each: int) -> Level:
        events: list[dict] = []
        reports, cpu, discarded = Reports(events.append), time.process_time(), _discarded()
        await self._converse(folder, turns, sessions, each, reports)
        questions = [event for event in events if event["what"] == "question"]
        return Level(
            "one process",
            turns,
            sessions,
            questions,
            len(events) - len(questions),
            {"one process": time.process_time() - cpu},
            _discarded() - discarded,
            reports.late,
        )

    async def _converse(self, folder: Path, turns: str, sessions: int, each: int, reports: Reports) -> None:
        asked = [Dialogue.load(path) for path in sorted(folder.iterdir())]

        def talk(seed: int) -> Talk:
            return Talk(self._process.client(), turns, self._max_tokens, seed)

        users = (converse(talk, asked[user::sessions], each, 1000 * user, reports) for user in range(sessions))
        await asyncio.gather(*users)


def _discarded() -> float:
    return REGISTRY.get_sample_value(DISCARDED)


def one_process(arguments: argparse.Namespace, dialogues: Dialogues, facts: dict) -> list[Level]:
    return asyncio.run(_one_process(arguments, dialogues))


async def _one_process(arguments: argparse.Namespace, dialogues: Dialogues) -> list[Level]:
    process, levels = OneProcess(arguments.checkpoint), []
    users, each = UsersInside(process, arguments.max_tokens), arguments.turns
    await process.start()
    for turns in arguments.detection:
        await users.run(dialogues.of(turns, 1, WARM_UP), turns, 1, WARM_UP)
    for sessions in arguments.sessions:
        for turns in arguments.detection:
            levels.append(shown(await users.run(dialogues.of(turns, sessions, each), turns, sessions, each)))
    await process.stop()
    return levels


ORDERS = {"services": services, "one-process": one_process, "published": published}
