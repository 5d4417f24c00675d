"""What a stage of `nano` learns from: its sources, its probe of held-out samples, its tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from tokenizers import Tokenizer

from parley.config import LanguageConfig
from training.data.mixture import Mixture
from training.data.records import Sample
from training.data.tokenizer import train_tokenizer
from training.data.world import World
from training.data.world.questions import PICTURE_KINDS
from training.data.world.sentences import corpus
from training.recipe import Schedule, Stage

PROBE_SIZE = 24  # held-out samples of each kind in a validation


@dataclass
class StageData:
    """One stage's data under one seed."""

    stage: Stage
    schedule: Schedule
    seed: int
    tokenizer: Tokenizer

    @cached_property
    def train(self) -> World:
        return World(self.seed, "train")

    @cached_property
    def heldout(self) -> World:
        return World(self.seed, "heldout")

    @cached_property
    def mixture(self) -> Mixture:
        return Mixture(self.schedule.mixture, sources(self.train), self.seed)

    @cached_property
    def probe(self) -> list[Sample]:
        """A few held-out samples of every kind the stage's mixture teaches."""
        return [sample for name in self.schedule.mixture for sample in probe(name, self.heldout)]


def sources(world: World) -> dict[str, Callable[[int], Sample]]:
    """The world's samples by the names the recipe uses."""
    return {
        "questions": lambda i: world.dialog(i, turns=8, small_talk_share=0.0, captioned=0.0),
        "captions": world.caption,
        "videos": lambda i: world.video(i, turns=3),
        "small_talk": lambda i: world.small_talk(i, turns=6),
        "text_questions": lambda i: told(world.dialog(i, turns=8, small_talk_share=0.0, captioned=0.0)),
        "text_captions": lambda i: told(world.caption(i)),
    }


def told(sample: Sample) -> Sample:
    """The same dialogue for a model that cannot see yet: the picture is told in words where it was shown."""
    first, *rest = sample.messages
    scene = {"type": "text", "text": f"{sample.about['scene']}."}
    content = [scene if part["type"] == "image" else part for part in first["content"]]
    return replace(sample, messages=[{**first, "content": content}, *rest])


def probe(source: str, world: World) -> list[Sample]:
    """Held-out samples of one source, one question each, so that every kind is measured alone."""
    if source in ("questions", "text_questions"):
        asked = [world.question(i, kind) for kind in PICTURE_KINDS for i in range(PROBE_SIZE)]
        return asked if source == "questions" else [told(sample) for sample in asked]
    if source == "small_talk":
        return [replace(world.small_talk(i), about={"kind": "small_talk"}) for i in range(2 * PROBE_SIZE)]
    return [sources(world)[source](i) for i in range(PROBE_SIZE)]


def first_tokenizer(config: LanguageConfig, seed: int) -> Tokenizer:
    """The tokenizer of a model that starts from nothing."""
    return train_tokenizer(corpus(seed=seed), config)
