"""Things as they are drawn: each with its ink, its extent and its centre, somewhere in its cell, clear of the others.

Lengths are in cells: a picture is three wide and three high, whatever its shape.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from PIL import ImageDraw

from training.data.world.colours import RGB
from training.data.world.fonts import MEASURED, extent, font
from training.data.world.outlines import Points, centred, turned
from training.data.world.scenes import GRID, Thing

GAP = 0.04  # cells between two things, at least
MOST = 0.46  # half of the extent of a thing, at most: in the middles of their cells all are clear of each other
EDGE = 0.02  # cells between a thing and the edge of the picture, at least
TRIES = 6  # to place one thing, before all are placed again nearer to the middles of their cells
SHRINK = 0.7  # of how far they are off the middles


@dataclass(frozen=True)
class Figure:
    """A thing that can be drawn on a canvas whose cells are `cell` pixels wide and high."""

    thing: Thing
    ink: RGB
    cell: tuple[float, float]
    half: tuple[float, float]  # half of its width and height, cells
    x: float = 0.0  # its centre, cells
    y: float = 0.0
    corners: tuple[tuple[float, float], ...] = ()  # of a shape: pixels from its centre
    text: str = ""  # of a word, as it is written
    font: str = ""
    font_size: int = 0  # pixels
    stroke: int = 0  # pixels

    def at(self, x: float, y: float) -> Figure:
        return replace(self, x=x, y=y)

    def overlaps(self, other: Figure) -> bool:
        return (
            abs(self.x - other.x) < self.half[0] + other.half[0] + GAP
            and abs(self.y - other.y) < self.half[1] + other.half[1] + GAP
        )

    @property
    def inside(self) -> bool:
        """Whether all of it is in the picture."""
        return all(
            half + EDGE <= where <= GRID - half - EDGE for where, half in zip((self.x, self.y), self.half, strict=True)
        )

    def paint(self, draw: ImageDraw.ImageDraw) -> None:
        x, y = self.x * self.cell[0], self.y * self.cell[1]
        if self.text:
            written = font(self.font, self.font_size)
            left, top, right, bottom = written.getbbox(self.text, stroke_width=self.stroke)
            corner = (x - (left + right) / 2, y - (top + bottom) / 2)
            draw.text(corner, self.text, self.ink, written, stroke_width=self.stroke)
        else:
            draw.polygon([(x + dx, y + dy) for dx, dy in self.corners], self.ink)


def shape_figure(
    thing: Thing, ink: RGB, cell: tuple[float, float], outline: Points, diameter: float, tilt: float
) -> Figure:
    """A shape, `diameter` pixels across, turned by `tilt` degrees; smaller if it would not fit its cell."""
    corners = centred(turned(outline, tilt))
    wide, high = max(x for x, _ in corners), max(y for _, y in corners)
    radius = min(diameter / 2, MOST * cell[0] / wide, MOST * cell[1] / high)
    half = wide * radius / cell[0], high * radius / cell[1]
    return Figure(thing, ink, cell, half, corners=tuple((x * radius, y * radius) for x, y in corners))


def word_figure(
    thing: Thing, ink: RGB, cell: tuple[float, float], text: str, name: str, fill: tuple[float, float], bold: bool
) -> Figure:
    """A written word as large as it can be without filling more of its cell's width and height than `fill`."""
    stroke = 2 if bold else 0
    width, height = extent(text, name, stroke)
    scale = min(fill[0] * cell[0] / width, fill[1] * cell[1] / height)
    size = max(4, int(MEASURED * scale))
    half = width * scale / cell[0] / 2, height * scale / cell[1] / 2
    return Figure(thing, ink, cell, half, text=text, font=name, font_size=size, stroke=round(stroke * size / MEASURED))


def placed(figures: list[Figure], reach: float, own_cell: bool, rng: random.Random) -> list[Figure]:
    """The figures with their centres off the middles of their cells by up to `reach` cells to each side, clear of each
    other and inside the picture; inside their `own_cell`, if so."""
    while True:
        found: list[Figure] = []
        for figure in figures:
            at = (_near_middle(figure, reach, own_cell, rng) for _ in range(TRIES if reach else 1))
            free = next((f for f in at if f.inside and not any(f.overlaps(other) for other in found)), None)
            if free is None:
                break
            found.append(free)
        else:
            return found
        reach = reach * SHRINK if reach > 0.05 else 0.0


def _near_middle(figure: Figure, reach: float, own_cell: bool, rng: random.Random) -> Figure:
    cell, centre = (figure.thing.column, figure.thing.row), []
    for number, half in zip(cell, figure.half, strict=True):
        low, high = (EDGE + half, 1 - EDGE - half) if own_cell else (0.0, 1.0)
        # What would leave the picture is moved to its edge.
        low = max(low, 0.5 - reach, (EDGE + half) - number)
        high = min(high, 0.5 + reach, (GRID - EDGE - half) - number)
        centre.append(number + rng.uniform(low, max(low, high)))
    return figure.at(*centre)
