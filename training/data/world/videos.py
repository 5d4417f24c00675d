"""Short videos: four frames in which one shape moves from cell to cell, sometimes past another that stands still."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image

from training.data.world.pictures import draw, ground, ink
from training.data.world.scenes import GRID, Scene, Thing
from training.data.world.splits import belongs
from training.data.world.vocabulary import COLOURS, DIRECTIONS, SHAPES, SIZES

STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
# Which cell of its way the shape is in, frame by frame: over two cells or over three.
PATHS = ((0, 0, 0, 1), (0, 0, 1, 1), (0, 1, 1, 1), (0, 0, 1, 2), (0, 1, 1, 2), (0, 1, 2, 2))
DRIFT = 3  # pixels ahead of or behind the middle of its cell, so that it also moves within a cell


@dataclass(frozen=True)
class Motion:
    """What happens in a video."""

    direction: str
    mover: Thing  # where it starts
    still: Thing | None
    path: tuple[int, ...]

    def scene(self, frame: int) -> Scene:
        """What a frame shows."""
        across, down = STEPS[self.direction]
        cell = self.mover.cell + self.path[frame] * (across + GRID * down)
        moved = Thing(cell, self.mover.colour, self.mover.shape, self.mover.size)
        return Scene((moved, self.still) if self.still else (moved,))

    def __str__(self) -> str:
        return f"{self.mover} moves {self.direction} by {self.path}, {self.still} stays"


def draw_motion(rng: random.Random, split: str) -> Motion:
    """A motion of this split."""
    while True:
        direction, path = rng.choice(DIRECTIONS), rng.choice(PATHS)
        across, down = STEPS[direction]
        room = GRID - path[-1]
        # The first coordinate along the way: from the far side if it moves towards the near one.
        along, beside = rng.randrange(room) + (path[-1] if across + down < 0 else 0), rng.randrange(GRID)
        cell = along + GRID * beside if across else beside + GRID * along
        mover = Thing(cell, rng.choice(COLOURS), rng.choice(SHAPES), rng.choice(SIZES))
        still = None
        if rng.random() < 0.4:
            way = {cell + step * (across + GRID * down) for step in range(GRID)}
            colour = rng.choice([name for name in COLOURS if name != mover.colour])
            shape = rng.choice([name for name in SHAPES if name != mover.shape])
            still = Thing(rng.choice(sorted(set(range(GRID * GRID)) - way)), colour, shape, rng.choice(SIZES))
        motion = Motion(direction, mover, still, path)
        if belongs(f"video: {motion}", split):
            return motion


def draw_frames(motion: Motion, rng: random.Random) -> list[Image.Image]:
    """The four frames, RGB 96×96 each, under one light."""
    shade = ground(rng)
    inks = [ink(thing, rng) for thing in motion.scene(0).things]
    across, down = STEPS[motion.direction]
    steady = rng.getrandbits(64)  # sizes, tilts and noise stay as they are from frame to frame
    frames = []
    for frame, reached in enumerate(motion.path):
        # Two frames in one cell: it enters behind the middle and leaves ahead of it.
        stay = [index for index, other in enumerate(motion.path) if other == reached]
        ahead = round(DRIFT * (2 * stay.index(frame) / (len(stay) - 1) - 1)) if len(stay) > 1 else 0
        frames.append(
            draw(motion.scene(frame), random.Random(steady), shade, inks, {0: (ahead * across, ahead * down)})
        )
    return frames
