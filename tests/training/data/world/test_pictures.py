"""Pictures and videos of the world."""

from dataclasses import replace

import numpy as np

from training.data.world import World, fonts
from training.data.world.colours import SHADES, any_ground, any_ink, any_word_ink, distance, lab, stands_out
from training.data.world.figures import placed
from training.data.world.pictures import ANY, CELL, SIDE, USUAL, any_style, cell_labels, compose, draw
from training.data.world.scenes import GRID, Scene, Thing, scene_of
from training.data.world.splits import generator
from training.data.world.videos import FRAMES, STEPS, draw_frames, draw_motion
from training.data.world.vocabulary import COLOURS, DIRECTIONS, SHAPES, SIZES, WRITTEN
from training.data.world.world import _picture


def pixels(image) -> np.ndarray:
    return np.asarray(image, np.int16)


def cells_of(image) -> np.ndarray:
    """[9, 32, 32, 3]."""
    return pixels(image).reshape(GRID, CELL, GRID, CELL, 3).swapaxes(1, 2).reshape(9, CELL, CELL, 3)


def test_a_picture_is_a_function_of_seed_split_and_index():
    scene, image = World(3).picture(5)
    _picture.cache_clear()
    again, same = World(3).picture(5)
    assert image.size == (SIDE, SIDE) and image.mode == "RGB"
    assert scene == again and (pixels(image) == pixels(same)).all()
    assert World(4).picture(5)[0] != scene and World(3, "heldout").picture(5)[0] != scene


def test_in_the_usual_style_things_stay_inside_their_own_cell():
    for index in range(60):
        rng = generator("usual", index)
        scene = scene_of(rng, "train")
        taken = {thing.cell for thing in scene.things}
        for cell, patch in enumerate(cells_of(draw(scene, rng, USUAL))):
            spread = np.abs(patch - np.median(patch, (0, 1))).max()
            assert (spread > 40) == (cell in taken), (index, cell, spread)


def test_labels_say_what_each_cell_holds():
    scene = Scene((Thing(0, "red", "star", "big"), Thing(4, word="tea"), Thing(8, "white", "circle", "small")))
    labels = cell_labels(scene)
    assert labels["occupied"].tolist() == [1, 0, 0, 0, 2, 0, 0, 0, 1]
    assert labels["colour"][0] == COLOURS.index("red") and labels["shape"][8] == SHAPES.index("circle")
    assert labels["size"].tolist() == [SIZES.index("big")] + [-1] * 7 + [SIZES.index("small")]
    assert labels["word"][4] == WRITTEN.index("tea") and (labels["word"] >= 0).sum() == 1
    assert labels["row"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and labels["column"].tolist() == [0, 1, 2] * 3


def figures_of(index: int):
    """The canvas and the placed things of a picture in any style."""
    rng = generator("any", index)
    scene = scene_of(rng, "train", counts=(5, 6))
    canvas, figures = compose(scene, ANY, rng)
    return canvas, placed(figures, 0.4, False, rng)


def test_in_any_style_a_thing_is_where_its_centre_is_clear_of_the_others_and_of_the_edge():
    off = []
    for index in range(80):
        canvas, figures = figures_of(index)
        for number, figure in enumerate(figures):
            cell, inside = int(figure.y) * GRID + int(figure.x), (figure.x % 1, figure.y % 1)
            assert cell == figure.thing.cell and all(3 / CELL <= where <= 1 - 3 / CELL for where in inside)
            assert figure.inside and not any(figure.overlaps(other) for other in figures[:number])
            off += [abs(where - 0.5) for where in inside]
        inks = [figure.ink for figure in figures if figure.thing.shape]
        assert all(stands_out(ink, canvas.ground) for ink in inks)
    assert np.mean(np.array(off) > 0.3) > 0.08


def test_what_is_drawn_is_inside_the_extent_that_is_kept_free():
    for index in range(40):
        rng = generator("extent", index)
        thing = Thing(4, word=rng.choice(WRITTEN)) if index % 3 == 0 else Thing(4, "red", rng.choice(SHAPES), "big")
        canvas, [figure] = compose(Scene((thing,)), ANY, rng)
        image = replace(canvas, ground=(0, 0, 0), noise=0).paint(
            [replace(figure, ink=(255, 255, 255)).at(1.5, 1.5)], rng
        )
        rows, columns = np.nonzero(pixels(image)[..., 0] > 100)
        for found, half in ((columns, figure.half[0]), (rows, figure.half[1])):
            assert (SIDE / 2 - half * CELL - 1.5 <= found.min()) and (found.max() <= SIDE / 2 + half * CELL + 1.5)
            assert abs(np.ptp(found) + 1 - 2 * half * CELL) < 4


def test_colours_keep_their_names_and_stand_out_on_any_ground():
    rng = generator("colours")
    shades = {name: [any_ink(name, rng) for _ in range(150)] for name in COLOURS}
    assert tuple(SHADES) == COLOURS
    for name, inks in shades.items():
        for other in COLOURS[: COLOURS.index(name)]:
            assert min(distance(a, b) for a in inks for b in shades[other]) > 25, (name, other)
    lightness = []
    for _ in range(200):
        inks = [rng.choice(shades[name]) for name in rng.sample(COLOURS, 3)]
        ground = any_ground(inks, rng)
        lightness.append(lab(ground)[0])
        assert min(distance(ink, ground) for ink in inks) >= 40
        assert abs(lab(any_word_ink(ground, rng))[0] - lightness[-1]) >= 40
    assert sum(level > 75 for level in lightness) > 20 and sum(30 < level < 75 for level in lightness) > 60


def test_lab_is_that_of_the_standard():
    for colour, expected in (  # Bruce Lindbloom's calculator, sRGB and D65
        ((255, 255, 255), (100, 0, 0)), ((255, 0, 0), (53.24, 80.09, 67.20)), ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((0, 128, 0), (46.23, -51.70, 49.90)), ((0, 0, 0), (0, 0, 0)),
    ):  # fmt: skip
        assert np.allclose(lab(colour), expected, atol=0.05), colour


def test_small_and_big_stay_apart_when_a_picture_is_squashed():
    longest = {"small": [], "big": []}
    for index in range(120):
        for figure in figures_of(index)[1]:
            if figure.thing.shape == "circle":
                longest[figure.thing.size].append(max(figure.half))
    assert max(longest["small"]) * 1.3 < min(longest["big"])


def test_big_covers_more_than_small_and_colours_are_apart():
    dark = replace(USUAL, ground=lambda inks, rng: (0, 0, 0))

    def lit(**looks) -> np.ndarray:
        cell = cells_of(draw(Scene((Thing(4, **looks),)), generator("lit"), dark))[4]
        return cell[cell.max(-1) > 60]

    for shape in SHAPES:
        assert len(lit(colour="white", shape=shape, size="big")) > 2 * len(
            lit(colour="white", shape=shape, size="small")
        )
    means = [np.median(lit(colour=colour, shape="square", size="big"), 0) for colour in COLOURS]
    apart = [np.abs(a - b).max() for i, a in enumerate(means) for b in means[:i]]
    assert min(apart) > 60


def test_words_are_written_in_many_fonts_small_and_capital_never_in_one_that_is_held_out():
    seen, capitals = set(), []
    for index in range(300):
        [figure] = compose(Scene((Thing(4, word="fish"),)), ANY, generator("word", index))[1]
        seen.add(figure.font)
        capitals.append(figure.text == "FISH")
        assert figure.text.lower() == "fish" and max(figure.half) <= 0.5
    assert seen == set(fonts.TRAINED) and not seen & set(fonts.HELD_OUT)
    assert 0.4 < np.mean(capitals) < 0.6


def test_no_two_words_look_alike_in_any_font():
    for name in fonts.TRAINED + fonts.HELD_OUT:
        masks = [fonts.font(name, 24).getmask(word) for word in WRITTEN]
        assert len({(mask.size, bytes(mask)) for mask in masks}) == len(WRITTEN), name


def test_one_moves_the_way_it_is_said_and_the_other_stands_still_or_goes_another_way():
    directions, others = set(), set()
    for index in range(150):
        motion = draw_motion(generator("video", index), "train")
        directions.add(motion.asked.direction)
        for way in motion.ways:
            assert len(way.path) == FRAMES and list(way.path) == sorted(way.path)
        others.add(motion.other and bool(motion.other.direction))
        if motion.other:
            asked, other = motion.asked.thing, motion.other.thing
            assert motion.other.direction != motion.asked.direction
            assert asked.colour != other.colour and asked.shape != other.shape
    assert directions == set(DIRECTIONS) and others == {None, False, True}


def test_the_frames_show_the_motion():
    for index in range(60):
        rng = generator("frames", index)
        style = any_style(rng)
        motion = draw_motion(rng, "train", style)
        frames = [pixels(frame) for frame in draw_frames(motion, rng, style)]
        assert len(frames) == FRAMES and frames[0].shape == (SIDE, SIDE, 3)
        if motion.other is None:
            across, down = STEPS[motion.asked.direction]
            first, last = (middle(frame) for frame in (frames[0], frames[-1]))
            gone = (last - first) / CELL
            assert np.allclose(gone, np.array((down, across)) * round(motion.asked.path[-1]), atol=0.12), index


def middle(frame: np.ndarray) -> np.ndarray:
    """Row and column of the middle of the only thing of a picture."""
    rows, columns = np.nonzero(np.abs(frame - np.median(frame, (0, 1))).max(-1) > 30)
    return np.array((rows.min() + rows.max(), columns.min() + columns.max())) / 2
