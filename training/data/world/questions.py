"""Questions about one scene and their answers: a plan of what to ask (`plans.py`, `absent.py`), in one of its wordings.

Notable points:
- The gaps of a wording (a thing, a place) are filled first; the sentence then belongs to a split by what it says, so
  held-out questions are sentences that training never wrote. The few without a gap ("what is written?") are in both.
- A newcomer's wordings that are held out whole are another table (`ask(table=UNSEEN)`).
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from training.data.world.absent import absent_plan
from training.data.world.plans import (
    Plan,
    Question,
    colour_plan,
    count_plan,
    is_there_plan,
    relation_plan,
    shape_plan,
    where_plan,
    written_plan,
)
from training.data.world.scenes import Scene, Thing, draw_scene
from training.data.world.splits import belongs, generator
from training.data.world.vocabulary import DIRECTIONS
from training.data.world.wordings import PLAIN, SHAPE_NOUNS, WORDINGS

TRIES = 24
UNNAMED = re.compile(r"\b(shape|thing)(?=s?\b)")


def words_of(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return re.findall(r"[a-z']+", text.lower())


def phrase(wordings: tuple[str, ...], gaps: dict[str, str], split: str, rng: random.Random) -> str | None:
    """One of the wordings with its gaps filled, of this split; None if all that were tried are of the other split."""
    for wording in rng.sample(wordings, min(len(wordings), TRIES)):
        text = wording.format(**gaps) if gaps else wording
        if not gaps or belongs(text, split):
            return text
    return None


PLANS = {
    "colour": colour_plan, "shape": shape_plan, "count": count_plan, "where": where_plan,
    "relation": relation_plan, "is_there": is_there_plan, "written": written_plan,
}  # fmt: skip
PICTURE_KINDS = tuple(PLANS)  # of what a picture has
PLANS["absent"] = absent_plan


def in_other_words(plan: Plan, rng: random.Random) -> Plan:
    """The plan with any noun for a shape whose name is not said."""
    gaps, answer, noun = [], plan.answer, rng.choice(SHAPE_NOUNS)
    for gap, filling in plan.gaps:
        renamed = UNNAMED.sub(noun, filling)
        gaps.append((gap, renamed))
        answer = answer.replace(filling.removeprefix("the "), renamed.removeprefix("the "))
    return replace(plan, answer=answer, gaps=tuple(gaps))


def ask(
    scene: Scene,
    kind: str,
    split: str,
    rng: random.Random,
    plain: bool = False,
    table: Mapping[str, tuple[str, ...]] = WORDINGS,
) -> Question | None:
    """A question of this kind about the scene, in a sentence of this split; None if the scene allows none. `plain`
    questions have the first wordings of the table only."""
    for _ in range(TRIES):
        plan = PLANS[kind](scene, rng)
        if not plan:
            continue
        plan = plan if plain else in_other_words(plan, rng)
        wordings = table[plan.wordings][: PLAIN if plain else None]
        if text := phrase(wordings, dict(plan.gaps), split, rng):
            return Question(kind, plan.form, text, plan.answer)
    return None


def moving_names(thing: Thing, alone: bool) -> list[str]:
    """All ways to name what moves in a video; nothing else in it is of its colour or its shape."""
    known = [f"the {thing.shape}", f"the {thing.colour} {thing.shape}", f"the {thing.size} {thing.shape}"]
    known += [f"the {thing.colour} {noun}" for noun in ("one", *SHAPE_NOUNS)]
    return known + (["it", "the shape", "the object"] if alone else [])


def ask_moves(thing: Thing, direction: str, alone: bool, split: str, rng: random.Random) -> Question:
    """Which way the moving thing of a video goes; `alone` if nothing else is in it."""
    known = moving_names(thing, alone)
    while True:
        if text := phrase(WORDINGS["moves"], {"thing": rng.choice(known)}, split, rng):
            return Question("moves", "moves", text, moves(direction))


def moves(direction: str) -> str:
    return f"it moves {direction}."


# What of an answer is to be guessed.
GUESSED_BEHIND = {"colour": " is ", "shape": " is ", "where": " is ", "relation": ", so "}


@lru_cache
def chance(kind: str, count: int = 4000) -> float:
    """The share of questions of a kind that are answered right by the most frequent answer to their form.

    Measured on `count` questions. Of answers that repeat a name from the question, only the rest is counted; of those
    about a relation, which say first where both things are, only the conclusion.
    """
    if kind == "moves":
        return 1 / len(DIRECTIONS)
    rng, answers, asked = generator("chance", kind), defaultdict(Counter), 0
    while asked < count:
        question = ask(draw_scene(rng), kind, "train", rng)
        if question:
            behind = GUESSED_BEHIND.get(kind)
            answers[question.form][question.answer.split(behind)[-1] if behind else question.answer] += 1
            asked += 1
    return sum(counts.most_common(1)[0][1] for counts in answers.values()) / asked
