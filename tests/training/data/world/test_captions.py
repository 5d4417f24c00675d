"""Captions in any order say what is in the picture, no more and no less."""

from __future__ import annotations

from training.data.world import World
from training.data.world.captions import by_place, by_thing, caption, variants
from training.data.world.splits import generator
from training.data.world.vocabulary import PLACES


def clauses(text: str) -> list[str]:
    return text.removesuffix(".").split(", ")


def test_things_in_any_order_are_the_same_things():
    orders = set()
    for number in range(20):
        scene = World().scene(3)
        told = by_thing(scene, generator("order", number))
        assert sorted(clauses(told)) == sorted(clauses(caption(scene)))
        orders.add(told)
    assert len(orders) > 1


def test_every_place_told_is_told_truly_and_every_thing_is_told():
    for index in range(40):
        scene = World().scene(index)
        told = clauses(by_place(scene, generator("places", index)))
        held = {f"{thing.place} {str(thing).removesuffix(' ' + thing.place)}" for thing in scene.things}
        empty = {f"{place} nothing" for place in PLACES} - {f"{thing.place} nothing" for thing in scene.things}
        assert held <= set(told) <= held | empty
        assert 1 <= len(set(told) - held) <= 2 and len(told) == len(set(told))


def test_each_variant_has_its_own_requests():
    asked = [[request for request, _ in variants(World().scene(i), generator("tell", i))] for i in range(50)]
    requests = [set(of_variant) for of_variant in zip(*asked, strict=True)]
    assert len(requests) == 3
    assert len(set.union(*requests)) == sum(map(len, requests))
