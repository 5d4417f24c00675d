"""Another picture later in a dialogue: the answers are about that one."""

from __future__ import annotations

from training.data.sample import parts, text_of
from training.data.world import World
from training.data.world.two_pictures import two_pictures
from training.data.world.vocabulary import PLACES


def test_the_last_answer_is_about_the_second_picture():
    world, checked, other = World(0, "train"), 0, 0
    for index in range(120):
        sample = two_pictures(world, index)
        shown = [part["type"] for message in sample.messages for part in parts(message["content"])]
        assert shown.count("image") == 2
        scenes = [world.scene(number) for number in (2 * index, 2 * index + 1)]
        assert sample.about["scene"] == str(scenes[1])
        if sample.about["form"] in ("colour at a place", "shape at a place"):
            answer = text_of(sample.messages[-1])
            place, value = max((p for p in PLACES if p in answer), key=len), answer.removesuffix(".").split()[-1]
            there = [{thing.colour, thing.shape} for scene in scenes for thing in scene.things if thing.place == place]
            assert value in there[-1]
            checked, other = checked + 1, other + (len(there) < 2 or value not in there[0])
    assert checked > 10 and other > 0.6 * checked


def test_small_talk_may_stand_in_front_of_a_picture():
    samples = [two_pictures(World(0, "train"), index) for index in range(60)]
    first = [[part["type"] for part in parts(sample.messages[0]["content"])] for sample in samples]
    assert ["text"] in first and ["image", "text"] in first
