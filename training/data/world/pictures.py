"""Pictures of scenes, and what each cell of a picture holds.

Notable points:
- A picture is drawn on a canvas of any shape and read as `nano` reads a user's: scaled to 96×96 pixels, whatever
  its shape (`parley.media.image.tile`).
- A thing is where its centre is: at least three of the 32 pixels of its cell away from the next cell.
- Some pictures are drawn in the usual style: on the grid, on dark ground, words white and in one font. A model learns
  from them first what a cell is. All others differ from it in some aspects, as far as people might draw them so.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from training.data.world import fonts
from training.data.world.colours import (
    RGB,
    any_ground,
    any_ink,
    any_word_ink,
    dark_ground,
    usual_ink,
    usual_word_ink,
)
from training.data.world.figures import Figure, placed, shape_figure, word_figure
from training.data.world.outlines import Points, any_outline, usual_outline
from training.data.world.scenes import COUNTS, GRID, Scene, Thing
from training.data.world.vocabulary import COLOURS, SHAPES, SIZES, WRITTEN

SIDE = 96  # pixels of a picture as the model reads it
CELL = SIDE // GRID
USUAL_SHARE = 1 / 3  # of the pictures
KEPT = 0.4  # of the aspects of all other pictures, that stay as usual: a person's picture differs in a few


@dataclass(frozen=True)
class Style:
    """How pictures are drawn. Diameters of shapes are shares of the shorter side of a cell."""

    counts: tuple[int, ...]  # of shapes
    beside: dict[str, float]  # what else a video shows, "nothing", "still" or "moving", and how often
    canvases: tuple[tuple[int, int], ...]  # width and height, pixels
    diameters: dict[str, tuple[float, float]]
    tilt: float  # degrees, to either side
    reaches: tuple[float, ...]  # how far a centre is off the middle of its cell, at most: cells
    own_cell: bool  # whether all of a thing is inside its cell
    ground: Callable[[list[RGB], random.Random], RGB]
    ink: Callable[[str, random.Random], RGB]
    word_ink: Callable[[RGB, random.Random], RGB]
    outline: Callable[[str, random.Random], Points]
    fonts: tuple[str, ...]
    bold: float  # share of the words that have an outline of their own ink
    capitals: float  # share of the words
    word_width: tuple[float, float]  # of its cell that a word fills, at most
    word_height: tuple[float, float]
    noise: tuple[int, ...]  # grey levels, at most


USUAL = Style(
    counts=(1, 2, 3, 4), beside={"nothing": 0.6, "still": 0.4},
    canvases=((192, 192),), diameters={"small": (0.41, 0.5), "big": (0.78, 0.91)}, tilt=8, reaches=(0.12,),
    own_cell=True, ground=lambda inks, rng: dark_ground(rng), ink=usual_ink, word_ink=usual_word_ink,
    outline=usual_outline, fonts=(fonts.USUAL,), bold=1.0, capitals=0.0, word_width=(0.84, 0.91),
    word_height=(0.53, 0.53), noise=(5,),
)  # fmt: skip
ANY = Style(
    counts=COUNTS, beside={"nothing": 0.35, "still": 0.25, "moving": 0.4},
    canvases=((192, 192), (256, 256), (256, 192), (320, 180), (192, 256)),
    diameters={"small": (0.38, 0.54), "big": (0.72, 0.91)}, tilt=30, reaches=(0.1, 0.4, 0.4), own_cell=False,
    ground=any_ground, ink=any_ink, word_ink=any_word_ink, outline=any_outline, fonts=fonts.TRAINED, bold=0.15,
    capitals=0.5, word_width=(0.7, 0.92), word_height=(0.4, 0.6), noise=(0, 0, 5),
)  # fmt: skip
# What changes together.
ASPECTS = (
    ("counts", "beside"), ("canvases",), ("diameters", "outline"), ("tilt",), ("reaches", "own_cell"),
    ("ground", "ink", "word_ink"), ("fonts", "bold", "capitals", "word_width", "word_height"), ("noise",),
)  # fmt: skip


def any_style(rng: random.Random, usual: float = USUAL_SHARE) -> Style:
    """The usual style, in a share of the draws, or one that differs from it in some aspects."""
    if rng.random() < usual:
        return USUAL
    kept = [name for aspect in ASPECTS if rng.random() < KEPT for name in aspect]
    return replace(ANY, **{name: getattr(USUAL, name) for name in kept})


@dataclass(frozen=True)
class Canvas:
    """What things are drawn on."""

    size: tuple[int, int]  # pixels
    ground: RGB
    noise: int

    @property
    def cell(self) -> tuple[float, float]:
        return self.size[0] / GRID, self.size[1] / GRID

    def paint(self, figures: list[Figure], rng: random.Random) -> Image.Image:
        """The picture as the model reads it, RGB 96×96."""
        image = Image.new("RGB", self.size, self.ground)
        draw = ImageDraw.Draw(image)
        for figure in figures:
            figure.paint(draw)
        image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        return noisy(image, self.noise, rng) if self.noise else image


def noisy(image: Image.Image, most: int, rng: random.Random) -> Image.Image:
    """The picture with noise of up to `most` grey levels in each channel."""
    noise = np.random.Generator(np.random.SFC64(rng.getrandbits(64)))
    pixels = np.asarray(image, np.int16)
    noise = noise.integers(-most, most + 1, pixels.shape, np.int16)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def compose(scene: Scene, style: Style, rng: random.Random) -> tuple[Canvas, list[Figure]]:
    """A canvas, and the things of the scene as figures in the middle of nowhere: `placed` or a video places them."""
    inks = {thing: style.ink(thing.colour, rng) for thing in scene.shapes}
    ground = style.ground(list(inks.values()), rng)
    canvas = Canvas(rng.choice(style.canvases), ground, rng.choice(style.noise))
    inks |= {thing: style.word_ink(ground, rng) for thing in scene.things if thing.word}
    return canvas, [_figure(thing, inks[thing], canvas.cell, style, rng) for thing in scene.things]


def _figure(thing: Thing, ink: RGB, cell: tuple[float, float], style: Style, rng: random.Random) -> Figure:
    if thing.word:
        text = thing.word.upper() if rng.random() < style.capitals else thing.word
        fill = rng.uniform(*style.word_width), rng.uniform(*style.word_height)
        return word_figure(thing, ink, cell, text, rng.choice(style.fonts), fill, rng.random() < style.bold)
    diameter = min(cell) * rng.uniform(*style.diameters[thing.size])
    tilt = rng.uniform(-style.tilt, style.tilt)
    return shape_figure(thing, ink, cell, style.outline(thing.shape, rng), diameter, tilt)


def draw(scene: Scene, rng: random.Random, style: Style) -> Image.Image:
    """A picture of the scene, RGB 96×96."""
    canvas, figures = compose(scene, style, rng)
    return canvas.paint(placed(figures, rng.choice(style.reaches), style.own_cell, rng), rng)


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
