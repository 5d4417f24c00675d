"""The orders of work that the first-audio benchmark compares: services, one process, and the published one."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import REGISTRY

from benchmarks.clip import Clip, Dialogue
from benchmarks.first_audio_client import PAUSE, Reports, converse
from benchmarks.first_audio_level import Level
from benchmarks.first_audio_talk import HANDS_FREE, MANUAL, Talk
from benchmarks.first_audio_users import DISCARDED, Dialogues, Users
from benchmarks.measuring import everybody_let_in
from benchmarks.one_process import OneProcess
from benchmarks.published_order import DetectedEnd, PublishedDialogue, PublishedOrder, PublishedTurn, detect_end
from services.gateway.media.detector import Detector
from services.gateway.settings import GatewaySettings
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
    with stack(arguments, dialogues, facts) as users:
        return [
            users.run(dialogues.of(turns, sessions, arguments.turns), turns, sessions, arguments.turns)
            for sessions in arguments.sessions
            for turns in arguments.detection
        ]


def one_process(arguments: argparse.Namespace, dialogues: Dialogues, facts: dict) -> list[Level]:
    return asyncio.run(_one_process(arguments, dialogues))


async def _one_process(arguments: argparse.Namespace, dialogues: Dialogues) -> list[Level]:
    process, levels = OneProcess(arguments.checkpoint), []
    await process.start()

    async def level(turns: str, sessions: int, each: int) -> Level:
        folders = sorted(dialogues.of(turns, sessions, each).iterdir())
        asked = [Dialogue.load(folder) for folder in folders]
        events: list[dict] = []
        reports, cpu, discarded = Reports(events.append), time.process_time(), REGISTRY.get_sample_value(DISCARDED)

        def talk(seed: int) -> Talk:
            return Talk(process.client(), turns, arguments.max_tokens, seed)

        users = (converse(talk, asked[user::sessions], each, 1000 * user, reports) for user in range(sessions))
        await asyncio.gather(*users)
        questions = [event for event in events if event["what"] == "question"]
        return Level(
            "one process",
            turns,
            sessions,
            questions,
            len(events) - len(questions),
            {"one process": time.process_time() - cpu},
            REGISTRY.get_sample_value(DISCARDED) - discarded,
            reports.late,
        )

    for turns in arguments.detection:
        await level(turns, 1, WARM_UP)
    for sessions in arguments.sessions:
        levels += [await level(turns, sessions, arguments.turns) for turns in arguments.detection]
    await process.stop()
    return levels


def published(arguments: argparse.Namespace, dialogues: Dialogues, facts: dict) -> list[Level]:
    return asyncio.run(_published(arguments, dialogues))


async def _published(arguments: argparse.Namespace, dialogues: Dialogues) -> list[Level]:
    model, levels = PublishedOrder(arguments.checkpoint, arguments.max_tokens), []
    detector, vad = Detector(), GatewaySettings().vad

    async def user(folders: list[Path], seed: int) -> list[tuple[Clip, DetectedEnd, PublishedTurn]]:
        rng, done = random.Random(seed), []
        for dialogue in map(Dialogue.load, folders):
            said = PublishedDialogue(dialogue.picture)
            for clip in dialogue.clips[: arguments.turns - len(done)]:
                end = await detect_end(clip, vad, detector)
                spoken = clip.voiced[1] / clip.sample_rate
                await asyncio.sleep(rng.uniform(*PAUSE) + spoken + end.wait)
                done.append((clip, end, await model.ask(clip, end.wait, said)))
        return done

    for sessions in arguments.sessions:
        folders = sorted(dialogues.of(HANDS_FREE, sessions, arguments.turns).iterdir())
        taken = await asyncio.gather(*(user(folders[number::sessions], number) for number in range(sessions)))
        levels += _published_levels(sessions, [each for one in taken for each in one], arguments.detection)
    detector.stop()
    model.close()
    return levels


def _published_levels(
    sessions: int, taken: list[tuple[Clip, DetectedEnd, PublishedTurn]], detection: list[str]
) -> list[Level]:
    """Its wait is fixed in any case; manual turns are the same ones without it."""
    levels = []
    for name in ("first_clause", "whole"):
        for turns in sorted({MANUAL if turns == MANUAL else HANDS_FREE for turns in detection}):
            questions = [
                {
                    "kind": clip.kind,
                    "pause": clip.pause,
                    "whole_before": clip.whole_before,
                    "cut": end.cut and turns == HANDS_FREE,
                    "answered": True,
                    "first_audio": getattr(turn, name) + (end.wait if turns == HANDS_FREE else 0.0),
                }
                for clip, end, turn in taken
            ]
            levels.append(Level(f"published, {name.replace('_', ' ')}", turns, sessions, questions))
    return levels


ORDERS = {"services": services, "one-process": one_process, "published": published}
