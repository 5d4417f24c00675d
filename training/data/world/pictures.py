"""Pictures of scenes: 96×96 pixels, each thing inside its own 32-pixel cell, antialiased, on a dark noisy ground."""

from __future__ import annotations

import math
import random
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.data.world.scenes import GRID, Scene, Thing
from training.data.world.vocabulary import COLOURS, SHAPES, SIZES, WRITTEN

SIDE = 96  # pixels of a picture
CELL = SIDE // GRID
OVERSAMPLE = 8
RGB = {
    "red": (222, 42, 42), "green": (38, 182, 62), "blue": (52, 98, 240),
    "yellow": (244, 222, 46), "purple": (166, 58, 206), "white": (242, 242, 242),
}  # fmt: skip
DIAMETERS = {"small": (13, 16), "big": (25, 29)}  # pixels, both ends included
TILT = 8  # degrees, to either side
GROUNDS = (8, 72)  # grey levels of the ground: dark enough for all six colours
WORD_WIDTH, WORD_HEIGHT = 29, 17  # pixels a written word may fill
WORD_STRETCH = 1.4  # at most, upwards


def corners(shape: str) -> list[tuple[float, float]]:
    """The outline of a shape within [-1, 1]², clockwise from the top; a circle has none."""
    if shape == "square":
        return [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)]
    if shape == "triangle":
        return [(0, -1), (1, 0.84), (-1, 0.84)]
    if shape == "cross":
        a = 0.3
        return [
            (-a, -1),
            (a, -1),
            (a, -a),
            (1, -a),
            (1, a),
            (a, a),
            (a, 1),
            (-a, 1),
            (-a, a),
            (-1, a),
            (-1, -a),
            (-a, -a),
        ]
    radii = (1.0, 0.4)  # a star
    return [(radii[i % 2] * math.sin(math.pi * i / 5), -radii[i % 2] * math.cos(math.pi * i / 5)) for i in range(10)]


@lru_cache(maxsize=4096)
def shape_mask(shape: str, diameter: int, tilt: int) -> np.ndarray:
    """How much of each pixel the shape covers, uint16 0..256 [d, d, 1], d = diameter + 2."""
    side = (diameter + 2) * OVERSAMPLE
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    centre, radius = side / 2, diameter * OVERSAMPLE / 2
    if shape == "circle":
        draw.ellipse((centre - radius, centre - radius, centre + radius, centre + radius), fill=255)
    else:
        cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
        scale = radius / 1.05 if tilt else radius
        draw.polygon(
            [(centre + scale * (x * cos - y * sin), centre + scale * (x * sin + y * cos)) for x, y in corners(shape)],
            255,
        )
    mask = np.asarray(image.resize((diameter + 2, diameter + 2), Image.Resampling.BOX), np.uint16)
    return (mask + (mask > 127))[..., None]


@lru_cache(maxsize=256)
def word_mask(word: str, width: int) -> np.ndarray:
    """How much of each pixel the written word covers, uint16 0..256 [height, width, 1]."""
    font = ImageFont.load_default(size=64)
    left, top, right, bottom = font.getbbox(word, stroke_width=2)
    image = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), word, 255, font, stroke_width=2)
    scale = min(width / image.width, WORD_HEIGHT / image.height)
    # A long word is low: stretched, its letters stay legible.
    size = (round(image.width * scale), min(WORD_HEIGHT, round(image.height * scale * WORD_STRETCH)))
    mask = np.asarray(image.resize(size, Image.Resampling.BOX), np.uint16)
    return (mask + (mask > 127))[..., None]


def paint(
    canvas: np.ndarray, thing: Thing, rng: random.Random, colour: tuple[int, ...], drift: tuple[int, int]
) -> None:
    """Draw one thing into its cell of the canvas [96, 96, 3], moved by `drift` pixels but never out of the cell."""
    if thing.word:
        mask = word_mask(thing.word, rng.randint(WORD_WIDTH - 2, WORD_WIDTH))
    else:
        tilt = rng.choice((-TILT, 0, TILT))
        mask = shape_mask(thing.shape, rng.randint(*DIAMETERS[thing.size]), tilt)
    height, width = mask.shape[:2]
    free_y, free_x = CELL - height, CELL - width
    y = min(max(rng.randint(free_y // 4, free_y - free_y // 4) + drift[1], 0), free_y) + thing.row * CELL
    x = min(max(rng.randint(free_x // 4, free_x - free_x // 4) + drift[0], 0), free_x) + thing.column * CELL
    patch = canvas[y : y + height, x : x + width]
    patch[:] = (patch * (256 - mask) + np.array(colour, np.uint16) * mask) >> 8


def ink(thing: Thing, rng: random.Random) -> tuple[int, ...]:
    """The exact colour a thing is drawn with."""
    if thing.word:
        level = rng.randint(205, 255)
        return level, level, level
    return tuple(min(max(channel + rng.randint(-14, 14), 0), 255) for channel in RGB[thing.colour])


def ground(rng: random.Random) -> tuple[int, ...]:
    """The shade of the ground: dark, with a slight tint."""
    level = rng.randint(*GROUNDS)
    return tuple(min(max(level + rng.randint(-7, 7), 0), 255) for _ in range(3))


def draw(
    scene: Scene,
    rng: random.Random,
    shade: tuple[int, ...] | None = None,
    inks: list[tuple[int, ...]] | None = None,
    drifts: dict[int, tuple[int, int]] | None = None,
) -> Image.Image:
    """A picture of the scene, RGB 96×96.

    A video gives the shade, the inks and the drifts: how far a thing (by index) is off the middle of its cell, pixels.
    """
    canvas = np.empty((SIDE, SIDE, 3), np.uint16)
    canvas[:] = shade or ground(rng)
    for index, thing in enumerate(scene.things):
        paint(canvas, thing, rng, inks[index] if inks else ink(thing, rng), (drifts or {}).get(index, (0, 0)))
    noise = np.random.Generator(np.random.SFC64(rng.getrandbits(64))).integers(-5, 6, canvas.shape, np.int16)
    return Image.fromarray(np.clip(canvas.astype(np.int16) + noise, 0, 255).astype(np.uint8))


def cell_labels(scene: Scene) -> dict[str, np.ndarray]:
    """What each cell holds and where it is, int64 [9] by name: occupied (0 empty, 1 a shape, 2 a word), colour, shape,
    size, word, row, column.

    Colour, shape, size and word are indices into the vocabulary, -1 where they do not apply.
    Supervised classification of the cells stands in for InternViT's own pretraining.
    """
    labels = {name: np.full(GRID * GRID, -1, np.int64) for name in ("colour", "shape", "size", "word")}
    labels["occupied"] = np.zeros(GRID * GRID, np.int64)
    labels["row"], labels["column"] = np.divmod(np.arange(GRID * GRID), GRID)
    for thing in scene.things:
        if thing.word:
            labels["occupied"][thing.cell] = 2
            labels["word"][thing.cell] = WRITTEN.index(thing.word)
        else:
            labels["occupied"][thing.cell] = 1
            labels["colour"][thing.cell] = COLOURS.index(thing.colour)
            labels["shape"][thing.cell] = SHAPES.index(thing.shape)
            labels["size"][thing.cell] = SIZES.index(thing.size)
    return labels


LABEL_SIZES = {
    "occupied": 3, "colour": len(COLOURS), "shape": len(SHAPES), "size": len(SIZES), "word": len(WRITTEN),
    "row": GRID, "column": GRID,
}  # fmt: skip
