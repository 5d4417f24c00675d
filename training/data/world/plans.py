"""What to ask about one scene, and the right answer, before a wording is chosen: one function a kind of question.

Notable points:
- A plan refers to something unique, so that it has exactly one right answer; None where the scene allows no such plan.
- An answer first repeats what was asked for ("the shape at the left is red."), so that the words to look up stand right
  before what is looked up. If several things must be found, the answer says where each is before it concludes: a chain
  of thought of single look-ups.
- Left of, above and so on compare columns or rows, and are asked only where these differ.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass

from training.data.world.scenes import Scene, Thing
from training.data.world.vocabulary import (
    ANIMALS,
    COLOURS,
    COLUMNS,
    DEVICES,
    NUMBERS,
    PLURALS,
    ROWS,
    SHAPES,
    with_article,
)

RELATIONS = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
STRANGERS = (*ANIMALS, *DEVICES)


@dataclass(frozen=True)
class Question:
    kind: str
    form: str  # the kind, and what sort of thing is asked about: all that `chance` lets a guess depend on
    text: str
    answer: str

    @property
    def pair(self) -> tuple[str, str]:
        return self.text, self.answer


@dataclass(frozen=True)
class Plan:
    """What to ask, before a wording is chosen."""

    form: str
    wordings: str  # which of the `wordings.WORDINGS`
    answer: str
    gaps: tuple[tuple[str, str], ...] = ()


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
        return Plan("colour of a shape", "colour", f"{name} is {thing.colour}.", (("thing", name),))
    answer = f"the shape {thing.place} is {thing.colour}."
    return Plan("colour at a place", "colour_at", answer, (("place", thing.place),))


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
            return Plan("shape of a colour", "shape", f"{name} is a {thing.shape}.", (("thing", name),))
    return Plan(
        "shape at a place", "shape_at", f"the shape {thing.place} is a {thing.shape}.", (("place", thing.place),)
    )


def count_plan(scene: Scene, rng: random.Random) -> Plan | None:
    sort = rng.choice(("all", "colour", "shape"))
    if sort == "all":
        return Plan("count of all", "count", counted(len(scene.shapes)), (("things", "shapes"),))
    found = Counter(getattr(thing, sort) for thing in scene.shapes)
    by_count = defaultdict(list)
    for value in COLOURS if sort == "colour" else SHAPES:
        by_count[found[value]].append(value)
    number = rng.choice(sorted(by_count))
    value = rng.choice(by_count[number])
    things = f"{value} shapes" if sort == "colour" else PLURALS[value]
    places = ", ".join(thing.place for thing in scene.shapes if getattr(thing, sort) == value)
    answer = f"{places}, so {NUMBERS[number]}." if number else counted(0)
    return Plan("count of some", "count", answer, (("things", things),))


def counted(number: int) -> str:
    return "there are none." if number == 0 else "there is one." if number == 1 else f"there are {NUMBERS[number]}."


def where_plan(scene: Scene, rng: random.Random) -> Plan | None:
    thing = rng.choice(scene.things)
    known = ["the word"] if thing.word else names(thing, scene)
    if not known:
        return None
    name = rng.choice(known)
    return Plan("where", "where", f"{name} is {thing.place}.", (("thing", name),))


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
    known, known_other = names(thing, scene), names(other, scene)
    if not known or not known_other:
        return None
    relation, name, other_name = rng.choice(relations(thing, other)), rng.choice(known), rng.choice(known_other)
    return compared(relation, (thing, name), (other, other_name), either=rng.random() < 0.25)


def relations(thing: Thing, other: Thing) -> list[str]:
    """What may be asked about two things: they differ in it."""
    return [name for name in RELATIONS if holds(name, thing, other) or holds(RELATIONS[name], thing, other)]


def compared(relation: str, one: tuple[Thing, str], another: tuple[Thing, str], either: bool) -> Plan:
    """Whether a relation is between two things with their names; `either`: or its opposite."""
    (thing, name), (other, other_name) = one, another
    true, opposite = holds(relation, thing, other), RELATIONS[relation]
    seen = f"{name} is {along(relation, thing)}, {other_name} {along(relation, other)}, so"
    if not either:
        gaps = (("thing", name), ("relation", relation), ("other", other_name))
        return Plan("relation", "relation", f"{seen} {'yes' if true else 'no'}.", gaps)
    said = (relation if true else opposite).removesuffix(" of")
    gaps = (("thing", name), ("relation", relation.removesuffix(" of")), ("opposite", opposite), ("other", other_name))
    return Plan("left or right" if "of" in opposite else "above or below", "either", f"{seen} {said}.", gaps)


def is_there_plan(scene: Scene, rng: random.Random) -> Plan | None:
    yes = rng.random() < 0.5
    sort = rng.choice(("both", "both", "both", "shape", "colour", "word"))
    colours, shapes = {thing.colour for thing in scene.shapes}, {thing.shape for thing in scene.shapes}
    both = {(thing.colour, thing.shape) for thing in scene.shapes}
    if sort == "word":
        return Plan("is there a word", "is_word", there([scene.word] if scene.word else []))
    if sort == "shape" and not yes and rng.random() < 0.3:
        return Plan("is there", "is_there", there([]), (("a_thing", with_article(rng.choice(STRANGERS))),))
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
    return Plan("is there", "is_there", there(meant), (("a_thing", a_thing),))


def there(things: list[Thing]) -> str:
    """Where the first is, and whether there is one."""
    return f"{things[0].place}, so yes." if things else "no, there is not."


def written_plan(scene: Scene, rng: random.Random) -> Plan | None:
    if scene.word is None:
        return None
    answer = f"the word is {scene.word.word}."
    if rng.random() < 0.5:
        return Plan("written", "written", answer)
    return Plan("written", "written_at", answer, (("place", scene.word.place),))
