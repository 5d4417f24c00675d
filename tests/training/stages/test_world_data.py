"""What stages learn from: samples changed on their way from the world, and never into what is held out."""

from __future__ import annotations

from random import Random

import pytest

from training.data.sample import text_of
from training.data.world import World
from training.data.world.questions import PLAIN, SHAPE_AT
from training.data.world.splits import belongs
from training.data.world.world import WORD_DROPOUT_WEIGHTS
from training.recipe import STAGES
from training.stages.world_data import DROPPABLE, hasty, hurried, repeats, sources


def test_every_source_of_the_recipe_makes_samples():
    made = sources(World(0, "train"))
    for row in STAGES:
        if row.objective == "next_token":
            for name in row.nano.mixture:
                assert made[name](3).messages[-1]["role"] == "assistant"


def test_haste_leaves_small_words_out_and_nothing_else():
    text = "please tell me, what is the colour of the big star?"
    for seed in range(50):
        said = hurried(text, Random(seed))
        left_out = list(text.split())
        for word in said.split():
            left_out.remove(word)
        assert 1 <= len(left_out) <= 3
        assert {word.strip(",") for word in left_out} <= set(DROPPABLE)
    assert hurried("count stars.", Random(0)) == "count stars."


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_haste_never_says_a_sentence_of_the_other_split(split):
    world = World(0, split)
    pairs = [(hasty(world, i), world.single(i, WORD_DROPOUT_WEIGHTS)) for i in range(400)]
    changed = [text_of(one.messages[0]) for one, other in pairs if one.messages != other.messages]
    assert len(set(changed)) > (100 if split == "train" else 5)  # of what is hurried, few fall to the smaller split
    assert all(belongs(text, split) for text in changed)
    assert all(one.messages[-1] == other.messages[-1] for one, other in pairs)


def test_plain_questions_have_few_wordings():
    world = World(0, "train")
    plain = {text_of(world.single(i, {"shape": 1}, plain=True).messages[0]) for i in range(400)}
    late = tuple(wording.replace("{place}", "at").rstrip("?.") for wording in SHAPE_AT[PLAIN:])
    assert not any(text.startswith(late) for text in plain)
    assert any(text_of(world.single(i, {"shape": 1}).messages[0]).startswith(late) for i in range(100))
    assert repeats(world, 1, plain=True).messages[0] != repeats(world, 2, plain=True).messages[0]
