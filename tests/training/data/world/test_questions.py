"""Questions about pictures: right, unambiguous, and never the same in training and evaluation."""

import re
from collections import Counter

import pytest

from training.data.world import World
from training.data.world.plans import holds
from training.data.world.questions import PICTURE_KINDS, ask, chance, words_of
from training.data.world.scenes import Scene, Thing, scene_of
from training.data.world.sentences import all_words, bigrams, corpus, question
from training.data.world.smalltalk import SMALL_TALK_KINDS, small_talk
from training.data.world.splits import belongs, generator, held_out
from training.data.world.vocabulary import ANIMALS, COLOURS, DEVICES, NUMBERS, PLACES, PLURALS, SHAPES, SIZES


def meant(phrase: str, scene: Scene) -> list[Thing]:
    """The shapes a phrase may mean, by its words alone: written apart from the code that makes the phrases."""
    if {*ANIMALS, *DEVICES} & {*words_of(phrase)}:
        return []
    places = [place for place in PLACES if place in phrase]
    found = [thing for thing in scene.shapes if not places or thing.place == max(places, key=len)]
    for words, field in ((COLOURS, "colour"), (SHAPES, "shape"), (SIZES, "size")):
        named = [word for word in words if word in words_of(phrase)]
        found = [thing for thing in found if not named or getattr(thing, field) in named]
    return found


def asked(kind: str, split: str, count: int = 150):
    for index in range(count):
        rng = generator("test", kind, split, index)
        scene = scene_of(rng, split)
        if found := ask(scene, kind, split, rng):
            yield scene, found


@pytest.mark.parametrize("split", ["train", "heldout"])
@pytest.mark.parametrize("kind", ["colour", "shape"])
def test_colour_and_shape_mean_one_thing_and_tell_the_truth(kind, split):
    for scene, found in asked(kind, split):
        about = meant(found.text, scene)
        assert len(about) == 1, (scene, found)
        assert getattr(about[0], kind) in words_of(found.answer)


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_counts_are_counted(split):
    for scene, found in asked("count", split):
        words = words_of(found.text)
        number = sum(
            all(thing.shape == shape for shape, plural in PLURALS.items() if plural in words)
            and all(thing.colour == colour for colour in COLOURS if colour in words)
            for thing in scene.shapes
        )
        assert words_of(found.answer)[-1] == ("none" if number == 0 else NUMBERS[number]), (scene, found)
        if found.form == "count of some" and number:  # it is told where they are first
            assert len(found.answer.split(", so ")[0].split(", ")) == number


def test_where_names_the_thing_again_and_its_place():
    for scene, found in asked("where", "train"):
        name, place = found.answer.split(" is ")
        [about] = [scene.word] if "word" in words_of(found.text) else meant(found.text, scene)
        assert place == f"{about.place}."
        assert ([scene.word] if name == "the word" else meant(name, scene)) == [about]


def test_relations_compare_rows_and_columns():
    pattern = re.compile(r"(the [a-z ]+?) (?:is )?(left of|right of|above|below) (the [a-z ]+?)(?: in the \w+)?[.?]$")
    checked, eithers = 0, 0
    for scene, found in asked("relation", "train", 300):
        either = re.search(r"(the [a-z ]+?) ([a-z]+) or ([a-z]+)( of)? (the [a-z ]+)[.?]$", found.text)
        match = None if either else pattern.search(found.text)
        if match:
            (thing,), (other,) = meant(match[1], scene), meant(match[3], scene)
            yes = "yes" if holds(match[2], thing, other) else "no"
            if " of" in match[2]:
                seen = [("left", "centre", "right")[shape.column] for shape in (thing, other)]
            else:
                seen = [("top", "centre", "bottom")[shape.row] for shape in (thing, other)]
            told = f"{match[1]} is at the {seen[0]}, {match[3]} at the {seen[1]}, so {yes}."
            assert found.answer == told, (scene, found)
            checked += 1
        elif either:
            (thing,), (other,) = meant(either[1], scene), meant(either[5], scene)
            (right,) = [word for word in (either[2], either[3]) if holds(word + (either[4] or ""), thing, other)]
            assert found.answer.endswith(f", so {right}."), (scene, found)
            eithers += 1
    assert checked > 100 and eithers > 30


def test_is_there_and_written():
    for scene, found in asked("is_there", "train"):
        there = ([scene.word] if scene.word else []) if "word" in words_of(found.text) else meant(found.text, scene)
        assert found.answer == (f"{there[0].place}, so yes." if there else "no, there is not."), (scene, found)
    for scene, found in asked("written", "train"):
        assert found.answer == f"the word is {scene.word.word}."


@pytest.mark.parametrize("kind", PICTURE_KINDS)
def test_no_answer_is_a_good_guess(kind):
    best = chance(kind)
    assert 1 / 20 <= best < {"is_there": 0.58, "relation": 0.58, "count": 0.45}.get(kind, 0.26)


def test_training_never_shows_a_held_out_scene_or_sentence():
    scenes = {World(seed).scene(index) for seed in range(2) for index in range(1500)}
    held = {World(9, "heldout").scene(index) for index in range(1500)}
    assert not scenes & held
    sentences = {question("train", generator("a", index)).text for index in range(4000)}
    assert not any(held_out(text) and question_has_gap(text) for text in sentences)
    strict = {question("heldout", generator("b", index), strict=True).text for index in range(1000)}
    assert not strict & {text for text in sentences if belongs(text, "train")}
    assert all(held_out(text) for text in strict)


def question_has_gap(text: str) -> bool:
    from training.data.world import captions, outside, smalltalk
    from training.data.world.wordings import WORDINGS

    fixed = {*captions.REQUESTS, *WORDINGS["written"], *WORDINGS["is_word"]}
    fixed |= {*outside.QUESTIONS, *outside.REQUESTS}
    fixed |= {wording for wordings, _ in smalltalk.GREETINGS + smalltalk.WHO for wording in wordings}
    return text not in fixed


@pytest.mark.parametrize("kind", SMALL_TALK_KINDS)
def test_small_talk_of_every_kind_in_both_splits(kind):
    for split in ("train", "heldout"):
        found = [small_talk(split, generator("talk", split, index), kind) for index in range(200)]
        assert len({turn.text for turn in found}) >= 5
        assert all(turn.kind == kind and turn.answer for turn in found)


def test_arithmetic_days_and_spelling_are_right():
    for index in range(300):
        words = words_of(small_talk("train", generator(index), "arithmetic").answer)
        a, sign, b, _, result = words
        a, b, result = NUMBERS.index(a), NUMBERS.index(b), NUMBERS.index(result)
        assert result == (a + b if sign == "plus" else a - b)
    spelled = small_talk("train", generator("spell"), "spelling")
    assert "".join(words_of(spelled.answer)) in words_of(spelled.text)


def test_the_world_has_few_words_and_the_recogniser_knows_them_all():
    import pocketsphinx

    known = set()
    with open(pocketsphinx.get_model_path() + "/en-us/cmudict-en-us.dict") as file:
        known.update(line.split(maxsplit=1)[0] for line in file)
    words = set(all_words())
    assert len(words) <= 430
    assert words <= known
    lines = corpus(3000)
    assert {word for line in lines for word in words_of(line)} == words
    assert {word for index in range(500) for word in words_of(question("heldout", generator(index)).text)} <= words
    assert not re.search(r"[^a-z ,.?]", "".join(lines))


def test_the_bigram_model_is_a_distribution():
    model = bigrams(["the red circle", "the red square", "a circle"])
    head, _, tail = model.partition("\\2-grams:")
    ones = {line.split()[1]: 10 ** float(line.split()[0]) for line in head.splitlines() if len(line.split()) == 3}
    assert abs(sum(ones.values()) - 1) < 1e-3
    after = Counter()
    for line in tail.splitlines():
        if len(line.split()) == 3:
            after[line.split()[1]] += 10 ** float(line.split()[0])
    assert set(after) == {"<s>", "the", "red", "a", "circle", "square"} and max(after.values()) < 1
