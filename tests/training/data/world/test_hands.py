"""Pictures drawn by other hands: what is measured with them is in them."""

import numpy as np
import pytest
from PIL import Image

from training.data.world import World, fonts, heldout
from training.data.world.colours import distance
from training.data.world.hands import HANDS, INKS, question_by, stencil, two_moving
from training.data.world.pictures import SIDE
from training.data.world.questions import PICTURE_KINDS
from training.data.world.scenes import GRID, Thing
from training.data.world.splits import generator, held_out
from training.data.world.vocabulary import COLOURS, SHAPES

WORLD = World(1, "heldout")
BY_NAME = {hand.name: hand for hand in HANDS}


def picture(sample) -> Image.Image:
    return sample.messages[0]["content"][0]["image"]


def grounds(name: str) -> np.ndarray:
    """[pictures, 3]: the most frequent colour of each picture by this hand."""
    drawn = [picture(question_by(BY_NAME[name], WORLD, index)) for index in range(24)]
    return np.array([max(image.getcolors(image.width * image.height))[1] for image in drawn])


@pytest.mark.parametrize("hand", HANDS, ids=[hand.name for hand in HANDS])
def test_a_hand_asks_of_all_its_kinds_about_held_out_scenes_at_full_size(hand):
    kinds = set()
    for sample in heldout.pictures_by(2026, 8, hand):
        kinds.add(sample.about["kind"])
        assert picture(sample).size == hand.size and held_out(f"scene: {sample.about['scene']}")
    assert kinds == set(hand.kinds)


def test_grounds_are_light_mid_grey_or_of_any_colour():
    light, mid, any_colour = (grounds(name) for name in ("light ground", "mid-grey ground", "ground of any colour"))
    assert light.min() >= 200
    assert ((mid >= 100) & (mid <= 160)).all() and (np.ptp(mid, 1) == 0).all()
    assert np.ptp(any_colour, 0).min() > 120
    assert grounds("turned").max() <= 50


def test_five_or_six_shapes_are_there():
    for index in range(8):
        scene = question_by(BY_NAME["five or six shapes"], WORLD, index).about["scene"]
        assert sum(scene.count(shape) for shape in SHAPES) in (5, 6)


def test_things_are_off_the_grid_in_their_cells_and_turned():
    off = []
    for index in range(30):
        sample = question_by(BY_NAME["off the grid"], WORLD, index)
        image = np.asarray(picture(sample), np.int16)
        if sample.about["scene"].count(",") or "word" in sample.about["scene"]:
            continue
        rows, columns = np.nonzero(np.abs(image - np.median(image, (0, 1))).max(-1) > 40)
        off.append([(edge.min() + edge.max()) / 2 / image.shape[0] * GRID % 1 - 0.5 for edge in (rows, columns)])
    assert np.abs(off).max() <= 0.42 and np.abs(off).max() > 0.25
    upright = stencil(Thing(0, "red", "square", "big"), BY_NAME["off the grid"], generator("upright"))
    turned = stencil(Thing(0, "red", "square", "big"), BY_NAME["turned"], generator("turned"))
    assert np.asarray(upright).min() == 255 and np.asarray(turned).min() == 0


def test_other_fonts_are_those_that_training_has_not():
    hand = BY_NAME["other fonts"]
    assert set(hand.fonts) == set(fonts.HELD_OUT) and not set(hand.fonts) & set(fonts.TRAINED)
    assert hand.kinds == ("written",) and set(PICTURE_KINDS) > set(hand.kinds)


def test_inks_are_plain_colours_far_from_each_other():
    assert tuple(INKS) == COLOURS
    assert min(distance(INKS[a], INKS[b]) for a in COLOURS for b in COLOURS if a < b) > 60


def test_another_thing_moves_another_way_and_they_do_not_meet():
    for index in range(5):
        sample = two_moving(WORLD, index)
        frames = sample.messages[0]["content"][0]["video"]
        asked, other = sample.about["scene"].split("), ")
        assert "moves" in asked and "moves" in other
        inks = [INKS[next(colour for colour in COLOURS if colour in said)] for said in (asked, other)]
        shown = [[(np.asarray(frame) == ink).all(-1).sum() for ink in inks] for frame in frames]
        assert len(frames) == 4 and frames[0].size != (SIDE, SIDE)
        # Neither ever covers a part of the other.
        assert all(np.ptp(areas) == 0 and min(areas) > 0 for areas in zip(*shown, strict=True))
