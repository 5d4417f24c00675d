"""Questions about one scene, and their answers: each refers to something unique, so each has exactly one right answer.

Notable points:
- The gaps of a wording (a thing, a place) are filled first; the sentence then belongs to a split by what it says, so
  held-out questions are sentences that training never wrote. The few without a gap ("what is written?") are in both.
- An answer first repeats what was asked for ("the shape at the left is red."), so that the words to look up stand right
  before what is looked up. If several things must be found, the answer says where each is before it concludes: a chain
  of thought of single look-ups.
- Left of, above and so on compare columns or rows, and are asked only where these differ.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache

from training.data.world.scenes import Scene, Thing, draw_scene
from training.data.world.splits import belongs, generator
from training.data.world.vocabulary import COLOURS, COLUMNS, DIRECTIONS, NUMBERS, PLURALS, ROWS, SHAPES

# Wordings. A gap is filled with what the question is about. The most frequent questions have many wordings, combined
# from parts: a held-out sentence is then new as a whole, but every two of its parts were trained together.
BEFORE_QUESTION = ("", "tell me, ", "please tell me, ", "can you tell me, ")
BEFORE_ORDER = ("tell me ", "please tell me ", "can you tell me ", "can you see ")


def wordings_of(plain: tuple[str, ...], asked: tuple[str, ...], ordered: tuple[str, ...]) -> tuple[str, ...]:
    """The `plain` wordings, then questions (`asked`) and requests (`ordered`) with each beginning in front."""
    questions = [before + text for before in BEFORE_QUESTION for text in asked]
    orders = [before + text + ("?" if "can" in before else ".") for before in BEFORE_ORDER for text in ordered]
    return tuple(dict.fromkeys((*plain, *questions, *orders)))


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
COLOUR = tuple(wording.replace("{property}", "colour") for wording in PROPERTY)
SHAPE_OF = tuple(wording.replace("{property}", "shape") for wording in PROPERTY)
COLOUR_AT = tuple(
    wording.format(thing=f"the {noun} {{place}}") for noun in ("shape", "thing", "one") for wording in COLOUR
)
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
COUNT_ALL = (
    "how many shapes are there?", "how many shapes do you see?", "count the shapes.",
    "how many shapes are in the picture?", "tell me how many shapes there are.",
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
    "is there a word?",
    "do you see a word?",
    "can you see a word?",
    "is a word in the picture?",
    "is there a word in the picture?",
)
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
RELATIONS = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
GAP = re.compile(r"{\w+}")


@dataclass(frozen=True)
class Question:
    kind: str
    form: str  # the kind, and what sort of thing is asked about: all that `chance` lets a guess depend on
    text: str
    answer: str


@dataclass(frozen=True)
class Plan:
    """What to ask, before a wording is chosen."""

    form: str
    wordings: tuple[str, ...]
    answer: str
    gaps: tuple[tuple[str, str], ...] = ()


def words_of(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return re.findall(r"[a-z']+", text.lower())


def phrase(wordings: tuple[str, ...], gaps: dict[str, str], split: str, rng: random.Random) -> str | None:
    """One of the wordings with its gaps filled, of this split; None if every one is of the other split."""
    for wording in rng.sample(wordings, len(wordings)):
        text = wording.format(**gaps) if gaps else wording
        if not gaps or belongs(text, split):
            return text
    return None


def names(thing: Thing, scene: Scene, colour: bool = True) -> list[str]:
    """All ways to name one shape so that no other of the scene is meant; without `colour` where that is asked for."""
    found = []
    tests = [("size", "shape"), ("shape",)] + ([("colour", "shape"), ("size", "colour", "shape")] if colour else [])
    for fields in tests:
        key = [getattr(thing, name) for name in fields]
        if sum([getattr(other, name) for name in fields] == key for other in scene.shapes) == 1:
            found.append("the " + " ".join(key))
    return found


def colour_plan(scene: Scene, rng: random.Random) -> Plan | None:
    thing = rng.choice(scene.shapes)
    known = names(thing, scene, colour=False)
    if known and rng.random() < 0.7:
        name = rng.choice(known)
        return Plan("colour of a shape", COLOUR, f"{name} is {thing.colour}.", (("thing", name),))
    answer = f"the shape {thing.place} is {thing.colour}."
    return Plan("colour at a place", COLOUR_AT, answer, (("place", thing.place),))


def shape_plan(scene: Scene, rng: random.Random) -> Plan | None:
    thing = rng.choice(scene.shapes)
    if rng.random() < 0.6:
        same_colour = [other for other in scene.shapes if other.colour == thing.colour]
        name = None
        if len(same_colour) == 1:
            name = f"the {thing.colour} {rng.choice(('one', 'thing'))}"
        elif sum(other.size == thing.size for other in same_colour) == 1:
            name = f"the {thing.size} {thing.colour} one"
        if name:
            return Plan("shape of a colour", SHAPE_OF, f"{name} is a {thing.shape}.", (("thing", name),))
    return Plan("shape at a place", SHAPE_AT, f"the shape {thing.place} is a {thing.shape}.", (("place", thing.place),))


def count_plan(scene: Scene, rng: random.Random) -> Plan | None:
    sort = rng.choice(("all", "colour", "shape"))
    if sort == "all":
        return Plan("count of all", COUNT_ALL, counted(len(scene.shapes)))
    found = Counter(getattr(thing, sort) for thing in scene.shapes)
    by_count = defaultdict(list)
    for value in COLOURS if sort == "colour" else SHAPES:
        by_count[found[value]].append(value)
    number = rng.choice(sorted(by_count))
    value = rng.choice(by_count[number])
    things = f"{value} shapes" if sort == "colour" else PLURALS[value]
    places = ", ".join(thing.place for thing in scene.shapes if getattr(thing, sort) == value)
    answer = f"{places}, so {NUMBERS[number]}." if number else counted(0)
    return Plan("count of some", COUNT, answer, (("things", things),))


def counted(number: int) -> str:
    return "there are none." if number == 0 else "there is one." if number == 1 else f"there are {NUMBERS[number]}."


def where_plan(scene: Scene, rng: random.Random) -> Plan | None:
    thing = rng.choice(scene.things)
    known = ["the word"] if thing.word else names(thing, scene)
    return Plan("where", WHERE, f"it is {thing.place}.", (("thing", rng.choice(known)),)) if known else None


def holds(relation: str, thing: Thing, other: Thing) -> bool:
    """Whether the first is left of, right of, above or below the second."""
    return {
        "left of": thing.column < other.column, "right of": thing.column > other.column,
        "above": thing.row < other.row, "below": thing.row > other.row,
    }[relation]  # fmt: skip


def along(relation: str, thing: Thing) -> str:
    """The column or the row of a thing, whichever the relation compares."""
    return COLUMNS[thing.column] if relation.endswith(" of") else ROWS[thing.row]


def relation_plan(scene: Scene, rng: random.Random) -> Plan | None:
    if len(scene.shapes) < 2:
        return None
    thing, other = rng.sample(scene.shapes, 2)
    usable = [name for name in RELATIONS if holds(name, thing, other) or holds(RELATIONS[name], thing, other)]
    known, known_other = names(thing, scene), names(other, scene)
    if not known or not known_other:
        return None
    relation, name, other_name = rng.choice(usable), rng.choice(known), rng.choice(known_other)
    gaps = (("thing", name), ("relation", relation), ("other", other_name))
    true = holds(relation, thing, other)
    seen = f"{name} is {along(relation, thing)}, {other_name} {along(relation, other)}, so"
    if rng.random() < 0.25:
        opposite = RELATIONS[relation]
        said = relation if true else opposite
        gaps = (
            ("thing", name),
            ("relation", relation.removesuffix(" of")),
            ("opposite", opposite),
            ("other", other_name),
        )
        return Plan(
            "left or right" if "of" in opposite else "above or below",
            EITHER,
            f"{seen} {said.removesuffix(' of')}.",
            gaps,
        )
    return Plan("relation", RELATION, f"{seen} {'yes' if true else 'no'}.", gaps)


def is_there_plan(scene: Scene, rng: random.Random) -> Plan | None:
    yes = rng.random() < 0.5
    sort = rng.choice(("both", "both", "both", "shape", "colour", "word"))
    colours, shapes = {thing.colour for thing in scene.shapes}, {thing.shape for thing in scene.shapes}
    both = {(thing.colour, thing.shape) for thing in scene.shapes}
    if sort == "word":
        return Plan("is there a word", IS_WORD, there([scene.word] if scene.word else []))
    if sort == "shape":
        options = [(f"a {shape}", "", shape) for shape in SHAPES if (shape in shapes) == yes]
    elif sort == "colour":
        options = [
            (f"a {colour} {noun}", colour, "")
            for colour in COLOURS if (colour in colours) == yes for noun in ("shape", "thing")
        ]  # fmt: skip
    else:
        pairs = sorted(both) if yes else [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in both]
        # Half of the answers "no" are hard: the colour is there and the shape is there, but not together.
        hard = [] if yes else [(c, s) for c, s in pairs if c in colours and s in shapes]
        options = [(f"a {c} {s}", c, s) for c, s in (hard if hard and rng.random() < 0.5 else pairs)]
    if not options:
        return None
    a_thing, colour, shape = rng.choice(options)
    meant = [thing for thing in scene.shapes if colour in ("", thing.colour) and shape in ("", thing.shape)]
    return Plan("is there", IS_THERE, there(meant), (("a_thing", a_thing),))


def there(things: list[Thing]) -> str:
    """Where the first is, and whether there is one."""
    return f"{things[0].place}, so yes." if things else "no, there is not."


def written_plan(scene: Scene, rng: random.Random) -> Plan | None:
    if scene.word is None:
        return None
    answer = f"the word is {scene.word.word}."
    if rng.random() < 0.5:
        return Plan("written", WRITTEN, answer)
    return Plan("written", WRITTEN_AT, answer, (("place", scene.word.place),))


PLANS = {
    "colour": colour_plan, "shape": shape_plan, "count": count_plan, "where": where_plan,
    "relation": relation_plan, "is_there": is_there_plan, "written": written_plan,
}  # fmt: skip
PICTURE_KINDS = tuple(PLANS)
TRIES = 24
PLAIN = 6  # wordings of a plain question


def ask(scene: Scene, kind: str, split: str, rng: random.Random, plain: bool = False) -> Question | None:
    """A question of this kind about the scene, in a sentence of this split; None if the scene allows none. `plain`
    questions have the first wordings only."""
    for _ in range(TRIES):
        plan = PLANS[kind](scene, rng)
        if not plan:
            continue
        wordings = plan.wordings[:PLAIN] if plain and plan.gaps else plan.wordings
        if text := phrase(wordings, dict(plan.gaps), split, rng):
            return Question(kind, plan.form, text, plan.answer)
    return None


def ask_moves(thing: Thing, direction: str, alone: bool, split: str, rng: random.Random) -> Question:
    """Which way the moving thing of a video goes; `alone` if nothing else is in it."""
    known = [f"the {thing.shape}", f"the {thing.colour} {thing.shape}", f"the {thing.size} {thing.shape}"]
    known += [f"the {thing.colour} one", f"the {thing.colour} shape"] + (["it", "the shape"] if alone else [])
    while True:
        if text := phrase(MOVES, {"thing": rng.choice(known)}, split, rng):
            return Question("moves", "moves", text, f"it moves {direction}.")


@lru_cache
def chance(kind: str, count: int = 4000) -> float:
    """The share of questions of a kind that are answered right by the most frequent answer to their form.

    Measured on `count` questions. Of answers that repeat a name from the question, only the rest is counted.
    """
    if kind == "moves":
        return 1 / len(DIRECTIONS)
    rng, answers, asked = generator("chance", kind), defaultdict(Counter), 0
    while asked < count:
        question = ask(draw_scene(rng), kind, "train", rng)
        if question:
            answer = question.answer.split(" is ")[-1] if kind in ("colour", "shape") else question.answer
            answers[question.form][answer] += 1
            asked += 1
    return sum(counts.most_common(1)[0][1] for counts in answers.values()) / asked
