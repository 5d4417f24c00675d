"""Scenes: one to six shapes in the cells of a 3×3 grid, and sometimes a written word."""

from __future__ import annotations

import random
from dataclasses import dataclass

from training.data.world.splits import belongs
from training.data.world.vocabulary import COLOURS, PLACES, SHAPES, SIZES, WRITTEN

GRID = 3
COUNTS = (1, 1, 2, 2, 3, 3, 4, 4, 5, 6)  # of shapes in a scene: five and six less often
MOST = max(COUNTS)
WORD_SHARE = 0.35  # of the scenes that hold a word
CROWD = 6, 8  # things in a crowd
CROWD_WORDS = 2, 3


@dataclass(frozen=True)
class Thing:
    """A shape or a written word in one cell."""

    cell: int  # 0..8 in reading order
    colour: str = ""  # of a shape
    shape: str = ""
    size: str = ""
    word: str = ""  # of a written word; a thing has either a word or the three above

    @property
    def row(self) -> int:
        return self.cell // GRID

    @property
    def column(self) -> int:
        return self.cell % GRID

    @property
    def place(self) -> str:
        return PLACES[self.cell]

    def __str__(self) -> str:
        name = f"the word {self.word}" if self.word else f"a {self.size} {self.colour} {self.shape}"
        return f"{name} {self.place}"


@dataclass(frozen=True)
class Scene:
    """Things in reading order."""

    things: tuple[Thing, ...]

    @property
    def shapes(self) -> tuple[Thing, ...]:
        return tuple(thing for thing in self.things if thing.shape)

    @property
    def word(self) -> Thing | None:
        return next((thing for thing in self.things if thing.word), None)

    def __str__(self) -> str:
        return ", ".join(map(str, self.things))


def draw_scene(rng: random.Random, counts: tuple[int, ...] = COUNTS) -> Scene:
    """Any scene, of either split: as many shapes as one of `counts`, and sometimes a word."""
    count = rng.choice(counts)
    has_word = rng.random() < WORD_SHARE
    cells = rng.sample(range(GRID * GRID), count + has_word)
    # Shapes and colours repeat more often than chance would have it: counting and telling apart need that.
    shapes = rng.sample(SHAPES, rng.randint(1, len(SHAPES)))
    colours = rng.sample(COLOURS, rng.randint(1, len(COLOURS)))
    things = [Thing(cell, rng.choice(colours), rng.choice(shapes), rng.choice(SIZES)) for cell in cells[:count]]
    if has_word:
        things.append(Thing(cells[-1], word=rng.choice(WRITTEN)))
    return Scene(tuple(sorted(things, key=lambda thing: thing.cell)))


def draw_crowd(rng: random.Random) -> Scene:
    """Six to eight things, two or three of them words: more labels of cells than a scene has that is asked about."""
    cells = rng.sample(range(GRID * GRID), rng.randint(*CROWD))
    words = rng.randint(*CROWD_WORDS)
    things = [Thing(cell, word=rng.choice(WRITTEN)) for cell in cells[:words]]
    things += [Thing(cell, rng.choice(COLOURS), rng.choice(SHAPES), rng.choice(SIZES)) for cell in cells[words:]]
    return Scene(tuple(sorted(things, key=lambda thing: thing.cell)))


def scene_of(rng: random.Random, split: str, counts: tuple[int, ...] = COUNTS) -> Scene:
    """A scene of this split: what a scene shows decides which split it is in."""
    while True:
        scene = draw_scene(rng, counts)
        if belongs(f"scene: {scene}", split):
            return scene
