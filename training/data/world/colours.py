"""The shades of each named colour, grounds of any colour, and which ink can be told from which ground."""

from __future__ import annotations

import random
from functools import lru_cache

RGB = tuple[int, ...]  # red, green, blue: 0..255

# What people paint when they say the name. The first is the usual one; others lie between any two of a name.
SHADES: dict[str, tuple[RGB, ...]] = {
    "red": ((222, 42, 42), (255, 0, 0), (190, 20, 35), (236, 70, 60)),
    "green": ((38, 182, 62), (0, 128, 0), (0, 255, 0), (70, 170, 90)),
    "blue": ((52, 98, 240), (0, 0, 255), (25, 60, 170), (60, 130, 230)),
    "yellow": ((244, 222, 46), (255, 255, 0), (255, 215, 20), (240, 225, 90)),
    "purple": ((166, 58, 206), (128, 0, 128), (150, 50, 170), (155, 89, 182)),
    "white": ((242, 242, 242), (255, 255, 255), (235, 235, 235), (250, 248, 240)),
}
USUAL, ANY = 14, 8  # how far a channel of an ink is off a shade, at most
DARK = (8, 72)  # grey levels of the usual ground: dark enough for all six colours
TINT = 7  # how far a channel of a grey ground is off its level
SHAPE_CONTRAST = 40  # least distance of a shape's ink from the ground, in CIE Lab (ΔE 1976)
WHITE_CONTRAST = 25  # least difference in lightness L* of a white shape from the ground: it has no colour to tell it by
PALE = 20  # chroma of white at most
WORD_CONTRAST = 40  # least difference in lightness L* of a word's ink from the ground: letters are thin
TRIES = 12


@lru_cache(maxsize=4096)
def lab(colour: RGB) -> tuple[float, float, float]:
    """CIE L*a*b* of an sRGB colour, D65 white (IEC 61966-2-1; CIE 15)."""
    r, g, b = (_linear(channel / 255) for channel in colour)
    x = _root((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505)
    y = _root(0.2126 * r + 0.7152 * g + 0.0722 * b)
    z = _root((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.0890)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def _root(t: float) -> float:
    return t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29


def distance(one: RGB, other: RGB) -> float:
    """How far two colours are apart for the eye: the Euclidean distance in CIE Lab."""
    return sum((a - b) ** 2 for a, b in zip(lab(one), lab(other), strict=True)) ** 0.5


def stands_out(ink: RGB, ground: RGB) -> bool:
    """Whether a shape of this ink can be seen on the ground and its colour be named."""
    lightness, a, b = lab(ink)
    white = a * a + b * b < PALE**2
    return distance(ink, ground) >= SHAPE_CONTRAST and (not white or lightness - lab(ground)[0] >= WHITE_CONTRAST)


def near(colour: RGB, most: int, rng: random.Random) -> RGB:
    """A colour whose channels are off by `most` at most."""
    return tuple(min(max(round(channel) + rng.randint(-most, most), 0), 255) for channel in colour)


def usual_ink(name: str, rng: random.Random) -> RGB:
    """Close to the usual shade of the name."""
    return near(SHADES[name][0], USUAL, rng)


def any_ink(name: str, rng: random.Random) -> RGB:
    """Between any two shades of the name."""
    one, other = rng.choice(SHADES[name]), rng.choice(SHADES[name])
    share = rng.random()
    return near(tuple(a + share * (b - a) for a, b in zip(one, other, strict=True)), ANY, rng)


def grey(level: int, rng: random.Random) -> RGB:
    """A grey with a slight tint."""
    return near((level, level, level), TINT, rng)


def dark_ground(rng: random.Random) -> RGB:
    return grey(rng.randint(*DARK), rng)


def any_ground(inks: list[RGB], rng: random.Random) -> RGB:
    """White, grey, pale or any colour at all, such that all shapes' inks can be told from it."""
    for sort in rng.sample(GROUNDS, len(GROUNDS)):
        for _ in range(TRIES):
            colour = sort(rng)
            if all(stands_out(ink, colour) for ink in inks):
                return colour
    return dark_ground(rng)


GROUNDS = (
    lambda rng: (255, 255, 255),
    lambda rng: grey(rng.randint(0, 255), rng),
    lambda rng: grey(rng.randint(90, 170), rng),
    lambda rng: tuple(rng.randint(190, 255) for _ in range(3)),
    lambda rng: tuple(rng.randrange(256) for _ in range(3)),
    lambda rng: tuple(rng.randrange(256) for _ in range(3)),
    lambda rng: grey(rng.randint(170, 255), rng),
)


def usual_word_ink(ground: RGB, rng: random.Random) -> RGB:
    level = rng.randint(205, 255)
    return level, level, level


def any_word_ink(ground: RGB, rng: random.Random) -> RGB:
    """Black, white or any colour at all whose lightness is far enough from the ground's."""
    lightness = lab(ground)[0]
    for _ in range(5 * TRIES):
        level = rng.choice((0, 255))
        colour = (level,) * 3 if rng.random() < 0.3 else tuple(rng.randrange(256) for _ in range(3))
        if abs(lab(colour)[0] - lightness) >= WORD_CONTRAST:
            return colour
    return (255, 255, 255) if lightness < 50 else (0, 0, 0)
