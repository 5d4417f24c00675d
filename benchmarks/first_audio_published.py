"""The published order of work under the users of the first-audio benchmark."""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clip import Clip, Dialogue
from benchmarks.first_audio_client import PAUSE
from benchmarks.first_audio_level import Level
from benchmarks.first_audio_talk import HANDS_FREE, MANUAL
from benchmarks.first_audio_users import Dialogues
from benchmarks.published_order import DetectedEnd, PublishedDialogue, PublishedOrder, PublishedTurn, detect_end
from services.gateway.media.detector import Detector
from services.gateway.settings import GatewaySettings


@dataclass(frozen=True)
class Answered:
    clip: Clip
    end: DetectedEnd
    turn: PublishedTurn

    def facts(self, turns: str, spoken: str) -> dict[str, object]:
        """As those of `Asked`, as far as there are any. `spoken`: `first_clause` or `whole`, of `PublishedTurn`."""
        detected = turns == HANDS_FREE
        return {
            "text": self.clip.text,
            "kind": self.clip.kind,
            "pause": self.clip.pause,
            "whole_before": self.clip.whole_before,
            "cut": self.end.cut and detected,
            "answered": True,
            "first_audio": getattr(self.turn, spoken) + (self.end.wait if detected else 0.0),
        }


class PublishedUsers:
    """Of one server. `close` at the end."""

    def __init__(self, checkpoint: Path, max_tokens: int):
        self._model, self._detector = PublishedOrder(checkpoint, max_tokens), Detector()
        self._vad = GatewaySettings().vad

    async def run(self, folder: Path, sessions: int, each: int) -> list[Answered]:
        dialogues = [Dialogue.load(path) for path in sorted(folder.iterdir())]
        users = (self._converse(dialogues[user::sessions], each, user) for user in range(sessions))
        return [answered for one in await asyncio.gather(*users) for answered in one]

    async def _converse(self, dialogues: list[Dialogue], each: int, seed: int) -> list[Answered]:
        rng, done = random.Random(seed), []
        for dialogue in dialogues:
            said = PublishedDialogue(dialogue.picture)
            for clip in dialogue.clips[: each - len(done)]:
                end = await detect_end(clip, self._vad, self._detector)
                await asyncio.sleep(rng.uniform(*PAUSE) + clip.voiced[1] / clip.sample_rate + end.wait)
                done.append(Answered(clip, end, await self._model.ask(clip, end.wait, said)))
        return done

    def close(self) -> None:
        self._detector.stop()
        self._model.close()


def published(arguments: argparse.Namespace, dialogues: Dialogues, facts: dict) -> list[Level]:
    return asyncio.run(_published(arguments, dialogues))


async def _published(arguments: argparse.Namespace, dialogues: Dialogues) -> list[Level]:
    """Its wait is fixed in any case; its manual turns are the same ones without it."""
    users, levels = PublishedUsers(arguments.checkpoint, arguments.max_tokens), []
    detection = sorted({MANUAL if turns == MANUAL else HANDS_FREE for turns in arguments.detection})
    for sessions in arguments.sessions:
        folder = dialogues.of(HANDS_FREE, sessions, arguments.turns)
        answered = await users.run(folder, sessions, arguments.turns)
        levels += [level for turns in detection for level in levels_of(turns, sessions, answered)]
    users.close()
    return levels


def levels_of(turns: str, sessions: int, answered: Sequence[Answered]) -> list[Level]:
    return [
        Level(f"published, {name.replace('_', ' ')}", turns, sessions, [each.facts(turns, name) for each in answered])
        for name in ("first_clause", "whole")
    ]
