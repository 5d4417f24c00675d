"""Short videos: four frames in which one thing moves, alone, past another that stands still, or one that moves too."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image

from training.data.world.figures import Figure
from training.data.world.pictures import ANY, Style, compose
from training.data.world.scenes import GRID, Scene, Thing
from training.data.world.splits import belongs
from training.data.world.vocabulary import COLOURS, SHAPES, SIZES

STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
FRAMES = 4
LEAST = 0.1  # of the whole way: how much of it lies between two frames
SHRINK = 0.7  # of how far the ways are off the middles of the cells, after each try that does not fit


@dataclass(frozen=True)
class Way:
    """What one thing does in a video: `path` is how far it is from where it started in each frame, cells."""

    thing: Thing  # where it starts
    direction: str = ""  # none: it stands still
    path: tuple[float, ...] = (0.0,) * FRAMES

    @property
    def step(self) -> tuple[int, int]:
        return STEPS.get(self.direction, (0, 0))

    @property
    def cells(self) -> set[int]:
        """The cells that it is in, one after another."""
        across, down = self.step
        return {self.thing.cell + reached * (across + GRID * down) for reached in range(round(self.path[-1]) + 1)}

    def __str__(self) -> str:
        return f"{self.thing} moves {self.direction} by {self.path}" if self.direction else f"{self.thing} stays"


@dataclass(frozen=True)
class Motion:
    """What happens in a video: one thing moves, another stays or goes another way."""

    asked: Way
    other: Way | None

    @property
    def ways(self) -> tuple[Way, ...]:
        return (self.asked, self.other) if self.other else (self.asked,)

    def __str__(self) -> str:
        return ", ".join(map(str, self.ways))


def draw_motion(rng: random.Random, split: str, style: Style = ANY) -> Motion:
    """A motion of this split, with what the style shows beside it."""
    while True:
        colours, shapes = rng.sample(COLOURS, 2), rng.sample(SHAPES, 2)
        looks = [(colour, shape, rng.choice(SIZES)) for colour, shape in zip(colours, shapes, strict=True)]
        asked = rng.choice(_moves(looks[0], rng))
        beside = rng.choices(list(style.beside), list(style.beside.values()))[0]
        motion = Motion(asked, None if beside == "nothing" else rng.choice(_others(asked, beside, looks[1], rng)))
        if belongs(f"video: {motion}", split):
            return motion


def _others(asked: Way, beside: str, look: tuple[str, str, str], rng: random.Random) -> list[Way]:
    """What the other thing may do. No cell is on both ways, so that the two never meet."""
    still = [Way(Thing(cell, *look)) for cell in range(GRID * GRID)]
    ways = still if beside == "still" else _moves(look, rng)
    return [way for way in ways if not way.cells & asked.cells and way.direction != asked.direction]


def _moves(look: tuple[str, str, str], rng: random.Random) -> list[Way]:
    """All ways of a thing over two cells or over three, at a speed that is drawn."""
    ways = []
    for direction, (across, down) in STEPS.items():
        for cell in range(GRID * GRID):
            for length in (1, 2):
                if 0 <= cell % GRID + length * across < GRID and 0 <= cell // GRID + length * down < GRID:
                    ways.append(Way(Thing(cell, *look), direction, _path(length, rng)))
    return ways


def _path(length: int, rng: random.Random) -> tuple[float, ...]:
    """Half of the paths are at an even speed."""
    steps = [1.0] * 3 if rng.random() < 0.5 else [LEAST + rng.random() for _ in range(FRAMES - 1)]
    return tuple(round(length * sum(steps[:frame]) / sum(steps), 2) for frame in range(FRAMES))


def draw_frames(motion: Motion, rng: random.Random, style: Style) -> list[Image.Image]:
    """The four frames, RGB 96×96 each."""
    canvas, figures = compose(Scene(tuple(way.thing for way in motion.ways)), style, rng)
    steady = rng.getrandbits(64)  # the noise stays as it is from frame to frame
    placed = _placed(motion, figures, rng.choice(style.reaches), rng)
    return [canvas.paint(frame, random.Random(steady)) for frame in placed]


def _placed(motion: Motion, figures: list[Figure], reach: float, rng: random.Random) -> list[list[Figure]]:
    """The figures of each frame: each way off the middles of its cells by up to `reach`, inside the picture and
    clear of the other."""
    while True:
        starts = [(rng.uniform(-reach, reach), rng.uniform(-reach, reach)) for _ in figures]
        frames = [
            [_moved(f, way, frame, off) for f, way, off in zip(figures, motion.ways, starts, strict=True)]
            for frame in range(FRAMES)
        ]
        if all(f.inside for frame in frames for f in frame) and not any(f[0].overlaps(f[-1]) for f in frames if f[1:]):
            return frames
        reach = reach * SHRINK if reach > 0.02 else 0.0


def _moved(figure: Figure, way: Way, frame: int, off: tuple[float, float]) -> Figure:
    across, down = way.step
    gone = way.path[frame]
    return figure.at(way.thing.column + 0.5 + off[0] + gone * across, way.thing.row + 0.5 + off[1] + gone * down)
