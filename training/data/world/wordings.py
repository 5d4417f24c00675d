"""The wordings of questions about pictures and videos: tables, with gaps for what a question is about.

Notable points:
- The first `PLAIN` wordings of a kind are the plain ones; the first stages of `nano` are asked in no others.
- The most frequent questions have many wordings, combined from parts: a held-out sentence is then new as a whole, but
  every two of its parts were trained together.
- A newcomer's wordings say "color", "object", "photo" and the like. Some are held out whole, by what they say: training
  has none of their sentences (`UNSEEN`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from training.data.world.splits import belongs
from training.data.world.vocabulary import OTHER_SPELLINGS

PLAIN = 6  # wordings of a plain question
GAP = re.compile(r"{\w+}")
PICTURE_NOUNS = ("picture", "photo", "image")
SHAPE_NOUNS = ("shape", "thing", "object")  # what a shape is called whose name is not known
BEFORE_QUESTION = ("", "tell me, ", "please tell me, ", "can you tell me, ")
BEFORE_ORDER = ("tell me ", "please tell me ", "can you tell me ", "can you see ")


def wordings_of(plain: tuple[str, ...], asked: tuple[str, ...], ordered: tuple[str, ...]) -> tuple[str, ...]:
    """The `plain` wordings, then questions (`asked`) and requests (`ordered`) with each beginning in front."""
    questions = [before + text for before in BEFORE_QUESTION for text in asked]
    orders = [before + text + ("?" if "can" in before else ".") for before in BEFORE_ORDER for text in ordered]
    return tuple(dict.fromkeys((*plain, *questions, *orders)))


def named(wordings: Iterable[str]) -> tuple[str, ...]:
    """The wordings with each noun for a picture in the gap {picture}."""
    return tuple(
        dict.fromkeys(text.replace("{picture}", noun) for text in wordings for noun in PICTURE_NOUNS)
    )  # fmt: skip


def both_spellings(wordings: tuple[str, ...]) -> tuple[str, ...]:
    """The wordings as they are, then with "color" for "colour"."""
    other = [text.replace(written, word) for word, written in OTHER_SPELLINGS.items() for text in wordings]
    return tuple(dict.fromkeys((*wordings, *other)))


PROPERTY = wordings_of(
    plain=(
        "what {property} is {thing}?", "which {property} is {thing}?", "tell me the {property} of {thing}.",
        "what is the {property} of {thing}?", "{thing} is what {property}?", "what {property} does {thing} have?",
    ),
    asked=(
        "what {property} is {thing}?", "which {property} is {thing}?", "what is the {property} of {thing}?",
        "{thing} is what {property}?", "what {property} does {thing} have?", "which {property} does {thing} have?",
    ),
    ordered=(
        "the {property} of {thing}", "what {property} {thing} is", "which {property} {thing} is",
        "what the {property} of {thing} is",
    ),
)  # fmt: skip
SHAPE_AT = wordings_of(
    plain=(
        "what shape is {place}?", "which shape is {place}?", "what is {place}?",
        "what do you see {place}?", "tell me what is {place}.", "which shape do you see {place}?",
    ),
    asked=(
        "what shape is {place}?", "which shape is {place}?", "what is {place}?", "what do you see {place}?",
        "what can you see {place}?", "what shape do you see {place}?", "which shape do you see {place}?",
        "what shape can you see {place}?", "which shape can you see {place}?",
    ),
    ordered=(
        "what is {place}", "what you see {place}", "the shape {place}", "what shape is {place}",
        "which shape is {place}", "what shape you see {place}", "which shape you see {place}",
    ),
)  # fmt: skip
COUNT = wordings_of(
    plain=(
        "how many {things} are there?", "how many {things} do you see?", "count the {things}.",
        "how many {things} are in the picture?", "tell me how many {things} there are.",
        "how many {things} can you see?", "please count the {things}.", "can you count the {things}?",
    ),
    asked=(
        "how many {things} are there?", "how many {things} do you see?", "how many {things} can you see?",
        "how many {things} are in the picture?",
    ),
    ordered=("how many {things} there are", "how many {things} you see", "how many {things} are in the picture"),
)  # fmt: skip
WHERE = (
    "where is {thing}?", "where do you see {thing}?", "tell me where {thing} is.",
    "where can i find {thing}?", "in which place is {thing}?", "can you tell me where {thing} is?",
)  # fmt: skip
RELATION = (
    "is {thing} {relation} {other}?", "tell me, is {thing} {relation} {other}?",
    "do you see {thing} {relation} {other}?", "can you see {thing} {relation} {other}?",
)  # fmt: skip
EITHER = ("is {thing} {relation} or {opposite} {other}?", "tell me, is {thing} {relation} or {opposite} {other}?")
IS_THERE = (
    "is there {a_thing}?", "do you see {a_thing}?", "can you see {a_thing}?", "is {a_thing} there?",
    "is there {a_thing} in the picture?", "is {a_thing} in the picture?",
)  # fmt: skip
IS_WORD = (
    "is there a word?", "do you see a word?", "can you see a word?", "is a word in the picture?",
    "is there a word in the picture?",
)  # fmt: skip
WRITTEN = (
    "what is written?", "what word is there?", "which word do you see?", "what is the word?", "read the word.",
    "what does the word say?", "tell me the word.", "what is written in the picture?",
)  # fmt: skip
WRITTEN_AT = (
    "what is written {place}?", "what word is {place}?", "which word is {place}?",
    "which word do you see {place}?", "read the word {place}.", "tell me the word {place}.",
)  # fmt: skip
MOVES = (
    "which way does {thing} move?", "which way does {thing} go?", "tell me which way {thing} moves.",
    "where does {thing} go?", "where does {thing} move?", "can you tell me which way {thing} moves?",
)  # fmt: skip
# What a newcomer says, by kind; {picture} is a noun for a picture.
NEWCOMER = {
    "colour": (
        "what colour is {thing} in the {picture}?", "do you know what colour {thing} is?",
        "can you see the colour of {thing}?", "what colour do you see on {thing}?", "{thing} has what colour?",
        "which colour has {thing}?", "say what colour {thing} is.", "the colour of {thing} is what?",
        "i want to know the colour of {thing}.", "in the {picture}, what colour is {thing}?",
    ),
    "shape": (
        "what is {thing}?", "what object is {thing}?", "what kind of shape is {thing}?", "which object is {thing}?",
        "what kind of object is {thing}?", "what is {thing} in the {picture}?", "do you know what {thing} is?",
        "say what {thing} is.", "what shape is {thing} in the {picture}?", "i want to know what {thing} is.",
    ),
    "shape_at": (
        "what object is {place}?", "which object is {place}?", "what object do you see {place}?",
        "what object can you see {place}?", "what thing is {place}?", "what is there {place}?",
        "what is {place} of the {picture}?", "what kind of object is {place}?", "what is the object {place}?",
        "what is the thing {place}?", "do you know what is {place}?", "in the {picture}, what is {place}?",
    ),
    "count": (
        "how many {things} are there in the {picture}?", "how many {things} are in the {picture}?",
        "how many {things} do you see in the {picture}?", "how many {things} can you see in the {picture}?",
        "how many {things} does the {picture} have?", "what is the number of {things}?",
        "do you know how many {things} there are?", "count all the {things}.", "count the {things} in the {picture}.",
        "how many {things} does the {picture} show?", "i want to know how many {things} there are.",
    ),
    "where": (
        "where is {thing} in the {picture}?", "where in the {picture} is {thing}?", "show me where {thing} is.",
        "can you find {thing}?", "where can you see {thing}?", "do you know where {thing} is?",
        "in the {picture}, where is {thing}?", "find {thing}.", "i want to know where {thing} is.",
    ),
    "relation": (
        "in the {picture}, is {thing} {relation} {other}?", "is {thing} {relation} {other} in the {picture}?",
        "do you know if {thing} is {relation} {other}?", "tell me if {thing} is {relation} {other}.",
        "can you see if {thing} is {relation} {other}?", "i want to know if {thing} is {relation} {other}.",
    ),
    "either": (
        "in the {picture}, is {thing} {relation} or {opposite} {other}?",
        "do you know if {thing} is {relation} or {opposite} {other}?",
        "tell me if {thing} is {relation} or {opposite} {other}.",
    ),
    "is_there": (
        "is there {a_thing} in the {picture}?", "can you see {a_thing} in the {picture}?",
        "do you see {a_thing} in the {picture}?", "does the {picture} have {a_thing}?",
        "does the {picture} show {a_thing}?", "tell me if there is {a_thing}.", "can you find {a_thing}?",
        "do you know if there is {a_thing}?", "in the {picture}, is there {a_thing}?",
        "i want to know if there is {a_thing}.",
    ),
    "is_word": (
        "is there a word in the {picture}?", "can you see a word in the {picture}?", "does the {picture} have a word?",
        "tell me if there is a word.", "is there any word?",
    ),
    "written": (
        "what is written in the {picture}?", "what does the {picture} say?", "which word is in the {picture}?",
        "what word is in the {picture}?", "can you read the word?", "read the word in the {picture}.",
        "what is the word in the {picture}?", "what word can you see?", "read what is written.",
    ),
    "written_at": (
        "can you read the word {place}?", "what does the word {place} say?", "what is the word {place}?",
        "what can you read {place}?", "read what is written {place}.",
    ),
    "moves": (
        "which way does {thing} move in the video?", "where is {thing} going?", "which way is {thing} moving?",
        "where is {thing} moving?", "in which direction does {thing} move?", "which direction does {thing} go?",
        "what direction is {thing} moving?", "do you know which way {thing} moves?",
    ),
}  # fmt: skip


def newcomer(kind: str, split: str) -> tuple[str, ...]:
    """A newcomer's wordings of one kind that are of this split."""
    return named(both_spellings(tuple(text for text in NEWCOMER[kind] if belongs(f"wording: {text}", split))))


def with_property(name: str) -> tuple[str, ...]:
    """The wordings of a question for a property."""
    return tuple(wording.replace("{property}", name) for wording in PROPERTY)


def at_a_place(wordings: tuple[str, ...]) -> tuple[str, ...]:
    """The wordings about a thing, about the shape at a place."""
    return tuple(
        wording.replace("{thing}", f"the {noun} {{place}}")
        for noun in ("shape", "thing", "one", "object") for wording in wordings
    )  # fmt: skip


# All wordings of training, by the kind that they are a newcomer's of; the plain ones first.
WORDINGS = {
    "colour": (*both_spellings(with_property("colour")), *newcomer("colour", "train")),
    "shape": (*with_property("shape"), *newcomer("shape", "train")),
    "shape_at": (*SHAPE_AT, *newcomer("shape_at", "train")),
    "count": (*COUNT, *newcomer("count", "train")),
    "where": (*WHERE, *newcomer("where", "train")),
    "relation": (*RELATION, *newcomer("relation", "train")),
    "either": (*EITHER, *newcomer("either", "train")),
    "is_there": (*IS_THERE, *newcomer("is_there", "train")),
    "is_word": (*IS_WORD, *newcomer("is_word", "train")),
    "written": (*WRITTEN, *newcomer("written", "train")),
    "written_at": (*WRITTEN_AT, *newcomer("written_at", "train")),
    "moves": (*MOVES, *newcomer("moves", "train")),
}
WORDINGS["colour_at"] = at_a_place(WORDINGS["colour"])
# A newcomer's wordings that training never has.
UNSEEN = {kind: newcomer(kind, "heldout") for kind in NEWCOMER}
UNSEEN["colour_at"] = at_a_place(UNSEEN["colour"])
# Of the wordings of training those that have a newcomer's words, in the wording or in the gap, and a gap.
NEWCOMERS_WORDS = re.compile("color|object|photo|image|{things}|{a_thing}")
SEEN = {
    kind: tuple(text for text in wordings if NEWCOMERS_WORDS.search(text) and GAP.search(text))
    for kind, wordings in WORDINGS.items()
}
