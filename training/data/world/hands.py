"""Pictures drawn by other hands, to measure with: another renderer, other proportions, plain colours, any size.

Each hand changes one thing of the usual pictures, which have dark ground and one to four shapes on the grid. Nothing
here is trained on. Pictures keep their full size: the model's own reading makes 96×96 pixels of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw

from training.data.sample import Sample
from training.data.world import fonts
from training.data.world.colours import RGB, any_word_ink, lab, stands_out
from training.data.world.pictures import ANY
from training.data.world.questions import PICTURE_KINDS, ask, ask_moves
from training.data.world.scenes import GRID, Scene, Thing, scene_of
from training.data.world.videos import FRAMES, Motion, draw_motion
from training.data.world.world import World, to_messages

INKS: dict[str, RGB] = {
    "red": (255, 0, 0), "green": (0, 160, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "purple": (150, 0, 150),
    "white": (255, 255, 255),
}  # fmt: skip
RADII = {"small": 0.22, "big": 0.42}  # of the shorter side of a cell
WORD = 0.8, 0.5  # of the width and the height of a cell that a word fills, at most
EDGE = 0.02  # cells from the edge of the picture, at least
LIGHT = 60  # lightness L* from which words are black
TRIES = 20
SHRINK = 0.98  # of how far things are off the middles of their cells, after each try that does not fit


def dark(rng: random.Random) -> RGB:
    return (rng.randint(0, 50),) * 3


def light(rng: random.Random) -> RGB:
    """White, light grey or pale."""
    level = rng.randint(200, 255)
    return rng.choice(((255, 255, 255), (level,) * 3, tuple(rng.randint(200, 255) for _ in range(3))))


def mid_grey(rng: random.Random) -> RGB:
    return (rng.randint(100, 160),) * 3


def any_colour(rng: random.Random) -> RGB:
    return tuple(rng.randrange(256) for _ in range(3))


@dataclass(frozen=True)
class Hand:
    """How somebody draws."""

    name: str
    size: tuple[int, int] = (480, 480)  # pixels
    ground: Callable[[random.Random], RGB] = dark
    counts: tuple[int, ...] = (1, 2, 3, 4)  # of shapes
    reach: float = 0.0  # how far a centre is off the middle of its cell, at most: cells, to each side
    tilt: int = 0  # degrees, to either side
    fonts: tuple[str, ...] = (fonts.USUAL,)
    coloured: bool = False  # whether words have any colour; they are white otherwise
    capitals: float = 0.0  # share of the words
    kinds: tuple[str, ...] = PICTURE_KINDS


HANDS = (
    Hand("light ground", ground=light),
    Hand("mid-grey ground", ground=mid_grey),
    Hand("ground of any colour", ground=any_colour),
    Hand("off the grid", reach=0.4),
    Hand("turned", tilt=30),
    Hand("five or six shapes", counts=(5, 6)),
    Hand("640×360", size=(640, 360)),
    Hand("1024×768", size=(1024, 768)),
    Hand("other fonts", fonts=fonts.HELD_OUT, coloured=True, capitals=0.5, kinds=("written",)),
)
MOVING = replace(ANY, beside={"moving": 1.0})


def question_by(hand: Hand, world: World, index: int) -> Sample:
    """A question about a picture by this hand, the kinds in turn."""
    rng, kind = world.rng("hand", hand.name, index), hand.kinds[index % len(hand.kinds)]
    while True:
        scene = scene_of(rng, world.split, hand.counts)
        question, ground = ask(scene, kind, world.split, rng), ground_for(scene, hand, rng)
        if question and ground:
            image = picture_by(hand, scene, ground, rng)
            return world.asked(question, "question", image=image, scene=str(scene))


def two_moving(world: World, index: int) -> Sample:
    """Which way does one go, in a video in which another goes another way?"""
    rng = world.rng("two moving", index)
    motion = draw_motion(rng, world.split, MOVING)
    question = ask_moves(motion.asked.thing, motion.asked.direction, False, world.split, rng)
    frames = frames_by(Hand("film"), motion, rng)
    about = {"kind": "moves", "form": question.form, "scene": str(motion)}
    return Sample(to_messages([question.pair], video=frames), "video", "text", about)


def ground_for(scene: Scene, hand: Hand, rng: random.Random) -> RGB | None:
    """A ground that all shapes can be told from; None if none was found."""
    drawn = (hand.ground(rng) for _ in range(TRIES))
    return next((g for g in drawn if all(stands_out(INKS[thing.colour], g) for thing in scene.shapes)), None)


def picture_by(hand: Hand, scene: Scene, ground: RGB, rng: random.Random) -> Image.Image:
    """The scene on this ground, at full size."""
    image = Image.new("RGB", hand.size, ground)
    stencils = [stencil(thing, hand, rng) for thing in scene.things]
    for thing, mask, centre in zip(scene.things, stencils, centres(scene, stencils, hand, rng), strict=True):
        stamp(image, mask, centre, INKS[thing.colour] if thing.shape else word_ink(ground, hand, rng))
    return image


def word_ink(ground: RGB, hand: Hand, rng: random.Random) -> RGB:
    """White on dark ground and black on light, or any colour that can be read."""
    return any_word_ink(ground, rng) if hand.coloured else (255,) * 3 if lab(ground)[0] < LIGHT else (0,) * 3


def frames_by(hand: Hand, motion: Motion, rng: random.Random) -> list[Image.Image]:
    """The frames of a video: things move along the middles of their cells."""
    ground, frames = dark(rng), []
    masks = [stencil(way.thing, hand, rng) for way in motion.ways]
    for frame in range(FRAMES):
        frames.append(Image.new("RGB", hand.size, ground))
        for way, mask in zip(motion.ways, masks, strict=True):
            across, down = (step * way.path[frame] for step in way.step)
            centre = way.thing.column + 0.5 + across, way.thing.row + 0.5 + down
            stamp(frames[-1], mask, centre, INKS[way.thing.colour])
    return frames


def stamp(image: Image.Image, mask: Image.Image, centre: tuple[float, float], ink: RGB) -> None:
    """Paints what the mask covers, its middle at the centre (cells)."""
    x, y = (where * side / GRID for where, side in zip(centre, image.size, strict=True))
    image.paste(ink, (round(x - mask.width / 2), round(y - mask.height / 2)), mask)


def stencil(thing: Thing, hand: Hand, rng: random.Random) -> Image.Image:
    """A mask of the thing, turned."""
    if thing.word:
        return word_stencil(thing.word.upper() if rng.random() < hand.capitals else thing.word, hand, rng)
    radius = round(RADII[thing.size] * min(hand.size) / GRID)
    mask = Image.new("L", (2 * radius + 1, 2 * radius + 1))
    SHAPES[thing.shape](ImageDraw.Draw(mask), radius)
    tilt = rng.uniform(-hand.tilt, hand.tilt)
    mask = mask.rotate(tilt, Image.Resampling.BICUBIC, expand=True) if tilt else mask
    return mask.crop(mask.getbbox())


def word_stencil(text: str, hand: Hand, rng: random.Random) -> Image.Image:
    """A mask of the text, as large as `WORD` allows."""
    name, cell = rng.choice(hand.fonts), [side / GRID for side in hand.size]
    width, height = fonts.extent(text, name)
    size = int(fonts.MEASURED * min(WORD[0] * cell[0] / width, WORD[1] * cell[1] / height))
    box = fonts.font(name, size).getbbox(text)
    mask = Image.new("L", (round(box[2] - box[0]), round(box[3] - box[1])))
    ImageDraw.Draw(mask).text((-box[0], -box[1]), text, 255, fonts.font(name, size))
    return mask


def centres(scene: Scene, masks: list[Image.Image], hand: Hand, rng: random.Random) -> list[tuple[float, float]]:
    """Where the things are, cells: off the middles of their cells, inside the picture and clear of each other."""
    reach = hand.reach
    halves = [[side * GRID / whole / 2 for side, whole in zip(m.size, hand.size, strict=True)] for m in masks]
    while True:
        found = [
            tuple(number + 0.5 + rng.uniform(-reach, reach) for number in (thing.column, thing.row))
            for thing in scene.things
        ]
        if fits(found, halves):
            return found
        reach *= SHRINK


def fits(found: list[tuple[float, float]], halves: list[list[float]]) -> bool:
    """Whether boxes with these middles and half sides, cells, are in the picture and clear of each other."""
    for number, (middle, half) in enumerate(zip(found, halves, strict=True)):
        if not all(h + EDGE <= m <= GRID - h - EDGE for m, h in zip(middle, half, strict=True)):
            return False
        for other, its in zip(found[:number], halves[:number], strict=True):
            if all(abs(m - o) < h + i + EDGE for m, o, h, i in zip(middle, other, half, its, strict=True)):
                return False
    return True


def _circle(draw: ImageDraw.ImageDraw, r: int) -> None:
    draw.ellipse((0, 0, 2 * r, 2 * r), 255)


def _square(draw: ImageDraw.ImageDraw, r: int) -> None:
    draw.rectangle((0.2 * r, 0.2 * r, 1.8 * r, 1.8 * r), 255)


def _triangle(draw: ImageDraw.ImageDraw, r: int) -> None:
    draw.regular_polygon((r, r, r), 3, fill=255)


def _cross(draw: ImageDraw.ImageDraw, r: int) -> None:
    draw.rectangle((0.67 * r, 0, 1.33 * r, 2 * r), 255)
    draw.rectangle((0, 0.67 * r, 2 * r, 1.33 * r), 255)


def _star(draw: ImageDraw.ImageDraw, r: int) -> None:
    """A pentagram: a pentagon, and a triangle from each of its sides to a point."""
    inner = 0.382 * r
    draw.regular_polygon((r, r, inner), 5, rotation=36, fill=255)
    outer, near = (_corners(r, length, turn) for length, turn in ((r, 0), (inner, 36)))
    for number, point in enumerate(outer):
        draw.polygon((point, near[number], near[number - 1]), 255)


def _corners(r: int, length: float, turn: float) -> list[tuple[float, float]]:
    points = [complex(r, r) + length * -1j * TURN ** (turn / 72 + number) for number in range(5)]
    return [(point.real, point.imag) for point in points]


TURN = complex(0.30901699, 0.95105652)  # a fifth of a circle
SHAPES = {"circle": _circle, "square": _square, "triangle": _triangle, "cross": _cross, "star": _star}
