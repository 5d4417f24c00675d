"""Where a question may be cut short: where what is left is no question of the world itself, or nobody could tell."""

from __future__ import annotations

import re
from functools import cache

from training.data.world import outside
from training.data.world.plans import STRANGERS
from training.data.world.questions import words_of
from training.data.world.sentences import CAPTIONS, QUESTIONS, SMALL_TALK, strings_in
from training.data.world.unaddressed import SPOKEN
from training.data.world.vocabulary import COLOURS, DAYS, NUMBERS, OPPOSITES, PLACES, PLURALS, SHAPES, SIZES, SPELLED
from training.data.world.wordings import GAP, SHAPE_NOUNS


def any_of(*texts: str) -> str:
    """A pattern of one of these."""
    return f"(?:{'|'.join(texts)})"


# What may stand in the gap of a wording, as patterns.
NAMED = any_of(*SHAPES, *SHAPE_NOUNS, *STRANGERS, "one", "word")
THING = any_of("it", f"the (?:{any_of(*SIZES)} )?(?:{any_of(*COLOURS)} )?{NAMED}")
RELATION = any_of("left", "right", "left of", "right of", "above", "below")
NUMBER = any_of(*NUMBERS)
FILLINGS = {gap: any_of(*fillings) for gap, fillings in outside.FILLINGS.items()} | {
    "thing": THING,
    "other": THING,
    "a_thing": f"an? (?:{any_of(*COLOURS)} )?{NAMED}",
    "things": any_of(f"(?:{any_of(*COLOURS)} )?{any_of(*PLURALS.values(), *(f'{noun}s' for noun in SHAPE_NOUNS))}"),
    "place": any_of(*PLACES),
    "relation": RELATION,
    "opposite": RELATION,
    "sum": f"{NUMBER} {any_of('plus', 'minus')} {NUMBER}",
    "word": any_of(*SPELLED, *strings_in(OPPOSITES)),
    "side": any_of("after", "before"),
    "day": any_of(*DAYS),
    "first": NUMBER,
    "last": NUMBER,
}


def cut_places(text: str) -> list[int]:
    """After how many of its words a sentence may be cut."""
    words = text.split(" ")
    return [count for count in range(1, len(words)) if not is_whole(" ".join(words[:count]))]


def is_whole(text: str) -> bool:
    """Whether a text has the words of a question of the world, or of a backchannel."""
    return _wordings().fullmatch(" ".join(words_of(text))) is not None


@cache
def _wordings() -> re.Pattern:
    """All wordings of all questions, with anything that fits in their gaps."""
    wordings = dict.fromkeys(strings_in((QUESTIONS, CAPTIONS, SMALL_TALK, outside.QUESTIONS, outside.REQUESTS, SPOKEN)))
    return re.compile("|".join(map(_pattern, wordings)))


def _pattern(wording: str) -> str:
    """A wording without punctuation, its gaps filled."""
    words = re.sub(r"[^a-z' {}_]", "", wording)
    return GAP.sub(lambda gap: FILLINGS[gap[0][1:-1]], words)
