"""Pictures and videos of the world."""

import numpy as np

from training.data.world import World
from training.data.world.pictures import CELL, SIDE, cell_labels, draw, word_mask
from training.data.world.scenes import GRID, Scene, Thing
from training.data.world.splits import generator
from training.data.world.videos import PATHS, STEPS, draw_frames, draw_motion
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


def test_things_stay_inside_their_own_cell():
    for index in range(60):
        scene, image = World(1).picture(index)
        taken = {thing.cell for thing in scene.things}
        for cell, patch in enumerate(cells_of(image)):
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


def test_big_covers_more_than_small_and_colours_are_apart():
    def lit(**looks) -> np.ndarray:
        cell = cells_of(draw(Scene((Thing(4, **looks),)), generator("lit"), shade=(0, 0, 0)))[4]
        return cell[cell.max(-1) > 60]

    for shape in SHAPES:
        assert len(lit(colour="white", shape=shape, size="big")) > 2 * len(
            lit(colour="white", shape=shape, size="small")
        )
    means = [np.median(lit(colour=colour, shape="square", size="big"), 0) for colour in COLOURS]
    apart = [np.abs(a - b).max() for i, a in enumerate(means) for b in means[:i]]
    assert min(apart) > 60


def test_every_word_fits_a_cell_and_no_two_look_alike():
    masks = {word: word_mask(word, 29)[..., 0] for word in WRITTEN}
    for mask in masks.values():
        assert mask.shape[0] <= 20 and mask.shape[1] <= CELL
    seen = {mask.tobytes() for mask in masks.values()}
    assert len(seen) == len(WRITTEN)


def test_a_shape_moves_the_way_it_is_said_and_the_other_stands_still():
    directions = set()
    for index in range(60):
        rng = generator("video", index)
        motion = draw_motion(rng, "train")
        frames = draw_frames(motion, rng)
        directions.add(motion.direction)
        across, down = STEPS[motion.direction]
        where = [motion.scene(frame).things[0] for frame in range(len(motion.path))]
        moved = where[-1].column - where[0].column, where[-1].row - where[0].row
        assert len(frames) == len(motion.path) == len(PATHS[0])
        assert moved[0] * across + moved[1] * down > 0 and moved[0] * down == moved[1] * across
        if motion.still:
            cell = motion.still.cell
            assert cell not in {thing.cell for thing in where}
            assert (cells_of(frames[0])[cell] == cells_of(frames[-1])[cell]).all()
    assert directions == set(DIRECTIONS)
