"""The outlines of the shapes: polygons in any proportions that people give them, turned by a few degrees."""

from __future__ import annotations

import math
import random
from functools import lru_cache

Points = list[tuple[float, float]]

# Inner radius of a star; half the width of a cross's arms; half of a square's side; half the width of a triangle and
# where its base is; half of the height is 1. Usual ones first, then the range of all.
STAR, STARS = 0.4, (0.36, 0.52)
ARM, ARMS = 0.3, (0.16, 0.36)
SQUARE, SQUARES = 0.86, (0.72, 0.88)
WIDTH, WIDTHS = 1.0, (0.82, 1.0)
BASE, BASES = 0.84, (0.5, 0.86)
ROUND = 40  # corners of a circle


@lru_cache
def circle() -> Points:
    return [(math.sin(math.tau * i / ROUND), -math.cos(math.tau * i / ROUND)) for i in range(ROUND)]


def star(inner: float) -> Points:
    radii = (1.0, inner)
    return [(radii[i % 2] * math.sin(math.pi * i / 5), -radii[i % 2] * math.cos(math.pi * i / 5)) for i in range(10)]


def cross(arm: float) -> Points:
    quarter = [(-arm, -1.0), (arm, -1.0), (arm, -arm)]
    return [point for turns in range(4) for point in turned(quarter, 90 * turns)]


def square(half: float) -> Points:
    return [(-half, -half), (half, -half), (half, half), (-half, half)]


def triangle(width: float, base: float) -> Points:
    return [(0.0, -1.0), (width, base), (-width, base)]


def usual_outline(shape: str, rng: random.Random) -> Points:
    """The corners of a shape in its usual proportions."""
    return {
        "circle": circle, "star": lambda: star(STAR), "cross": lambda: cross(ARM), "square": lambda: square(SQUARE),
        "triangle": lambda: triangle(WIDTH, BASE),
    }[shape]()  # fmt: skip


def any_outline(shape: str, rng: random.Random) -> Points:
    """The corners of a shape in proportions that are drawn."""
    return {
        "circle": circle, "star": lambda: star(rng.uniform(*STARS)), "cross": lambda: cross(rng.uniform(*ARMS)),
        "square": lambda: square(rng.uniform(*SQUARES)),
        "triangle": lambda: triangle(rng.uniform(*WIDTHS), rng.uniform(*BASES)),
    }[shape]()  # fmt: skip


def turned(points: Points, degrees: float) -> Points:
    """The points, turned clockwise (y points down) about the origin."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in points]


def centred(points: Points) -> Points:
    """The points, moved so that the middle of the box around them is the origin."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x, y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    return [(a - x, b - y) for a, b in points]
