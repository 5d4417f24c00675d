"""A newcomer's wordings: some are held out whole, and two spellings are one sentence."""

from __future__ import annotations

import re

from training.data.sample import text_of
from training.data.world import World, heldout
from training.data.world.questions import PICTURE_KINDS
from training.data.world.sentences import question
from training.data.world.splits import generator, held_out
from training.data.world.whole_questions import FILLINGS
from training.data.world.wordings import GAP, PLAIN, SEEN, UNSEEN, WORDINGS

PATTERNS = [
    re.compile(GAP.sub(lambda gap: FILLINGS[gap[0][1:-1]], re.sub(r"[?.]", "[?.]", text)))
    for texts in UNSEEN.values()
    for text in texts
]


def test_some_wordings_are_never_trained():
    assert all(UNSEEN[kind] for kind in ("colour", "shape_at", "count", "where", "relation", "is_there", "written"))
    world = World(0, "train")
    texts = [text_of(world.single(index).messages[0]) for index in range(800)]
    assert [text for text in texts if any(pattern.fullmatch(text) for pattern in PATTERNS)] == []


def test_the_plain_wordings_have_no_words_of_a_newcomer():
    for kind in ("colour", "colour_at", "shape", "shape_at", "where", "written", "count", "is_there"):
        assert not any(re.search("color|object|photo|image", text) for text in WORDINGS[kind][:PLAIN])


def test_half_of_a_newcomers_questions_are_in_wordings_that_are_held_out_whole():
    samples = list(heldout.newcomers_questions(2026, 84))
    texts = [text_of(sample.messages[0]) for sample in samples]
    assert [sample.about["kind"] for sample in samples[:14:2]] == list(PICTURE_KINDS)
    whole = [any(pattern.fullmatch(text) for pattern in PATTERNS) for text in texts]
    assert all(whole[::2]) and sum(whole) < 60
    assert all(held_out(text) for text, is_whole in zip(texts, whole, strict=True) if not is_whole)
    assert all(text for texts in SEEN.values() for text in texts if GAP.search(text))


def test_both_spellings_are_one_sentence():
    for index in range(200):
        text = question("train", generator("spelling", index)).text
        assert "color" not in text  # as it is transcribed
        assert held_out(text) == held_out(text.replace("colour", "color"))
    assert any("color" in text for text in WORDINGS["colour"])
