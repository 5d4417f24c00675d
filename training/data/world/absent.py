"""Questions about what a picture does not have: the answer says that it cannot be seen, or that nothing is there.

Most of those about a thing of several features are hard where the scene allows it: each feature is in the picture, but
no thing has all of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import product

from training.data.world.plans import RELATIONS, STRANGERS, Plan, names
from training.data.world.scenes import Scene, Thing
from training.data.world.vocabulary import COLOURS, PLACES, SHAPES, SIZES, with_article

NO_PICTURE = "please show me a picture."  # to a question about a picture where none was given
VALUES = {"size": SIZES, "colour": COLOURS, "shape": SHAPES}
HARD = 0.8


def absent_plan(scene: Scene, rng: random.Random) -> Plan | None:
    return rng.choice((absent_colour, absent_shape, absent_where, absent_relation, absent_written))(scene, rng)


def absent_colour(scene: Scene, rng: random.Random) -> Plan | None:
    if rng.random() < 0.35:
        return nothing_at("colour", "colour_at", scene, rng)
    return cannot_see("colour", "colour", "thing", unseen_name(scene.shapes, rng, colour=False))


def absent_shape(scene: Scene, rng: random.Random) -> Plan | None:
    if rng.random() < 0.5:
        return nothing_at("shape", "shape_at", scene, rng)
    name = missing(scene.shapes, rng.choice((("colour",), ("size", "colour"))), rng)
    return cannot_see("shape", "shape", "thing", name and f"{name} {rng.choice(('one', 'thing'))}")


def absent_where(scene: Scene, rng: random.Random) -> Plan | None:
    name = "word" if rng.random() < 0.1 and not scene.word else unseen_name(scene.shapes, rng)
    return cannot_see("where", "where", "thing", name)


def absent_relation(scene: Scene, rng: random.Random) -> Plan | None:
    """One of the two things is there."""
    known, name = names(rng.choice(scene.shapes), scene), unseen_name(scene.shapes, rng)
    if not known or not name:
        return None
    pair = rng.sample((f"the {name}", rng.choice(known)), 2)
    relation = rng.choice(list(RELATIONS))
    gaps = {"thing": pair[0], "relation": relation, "other": pair[1]}
    if rng.random() < 0.75:
        return Plan("absent relation", "relation", said_of(name), tuple(gaps.items()))
    gaps |= {"relation": relation.removesuffix(" of"), "opposite": RELATIONS[relation]}
    return Plan("absent relation", "either", said_of(name), tuple(gaps.items()))


def absent_written(scene: Scene, rng: random.Random) -> Plan | None:
    if not scene.word and rng.random() < 0.5:
        return Plan("absent written", "written", said_of("word"))
    place = rng.choice([place for place in PLACES if not scene.word or place != scene.word.place])
    return Plan("absent written", "written_at", f"i cannot see a word {place}.", (("place", place),))


def nothing_at(kind: str, wordings: str, scene: Scene, rng: random.Random) -> Plan:
    """About an empty place."""
    held = {thing.place for thing in scene.things}
    place = rng.choice([place for place in PLACES if place not in held])
    return Plan(f"absent {kind}", wordings, f"there is nothing {place}.", (("place", place),))


def cannot_see(kind: str, wordings: str, gap: str, name: str | None) -> Plan | None:
    """About a thing of that name, without its article."""
    return Plan(f"absent {kind}", wordings, said_of(name), ((gap, f"the {name}"),)) if name else None


def said_of(name: str) -> str:
    return f"i cannot see {with_article(name)}."


def unseen_name(shapes: Iterable[Thing], rng: random.Random, colour: bool = True) -> str | None:
    """The name of something that is none of the shapes; without `colour` where that is asked for."""
    if rng.random() < 0.15:
        return rng.choice(STRANGERS)
    fields = [("shape",), ("size", "shape")] + ([("colour", "shape"), ("size", "colour", "shape")] if colour else [])
    return missing(shapes, rng.choice(fields), rng)


def missing(shapes: Iterable[Thing], fields: tuple[str, ...], rng: random.Random) -> str | None:
    """Values of these features that no shape has together; None if the shapes have all."""
    held = {tuple(getattr(shape, field) for field in fields) for shape in shapes}
    absent = [values for values in product(*(VALUES[field] for field in fields)) if values not in held]
    alone = [{values[place] for values in held} for place in range(len(fields))]
    hard = [values for values in absent if all(value in seen for value, seen in zip(values, alone, strict=True))]
    if not absent:
        return None
    return " ".join(rng.choice(hard if hard and rng.random() < HARD else absent))
