"""What a new item comes behind, as the client knows the conversation."""

from __future__ import annotations

from services.gateway.api.openai.realtime.item_order import MAX_ITEMS, ItemOrder


def test_the_last_item_is_known_whatever_is_added_and_removed():
    order = ItemOrder()
    assert order.last == ""
    for item_id, previous in (("b", ""), ("d", "b"), ("a", ""), ("c", "b")):
        order.add(item_id, previous)
    assert order.last == "d"
    order.remove("d")
    order.remove("never there")
    assert order.last == "c"


def test_what_comes_behind_an_item_of_an_earlier_connection_is_in_front():
    order = ItemOrder("last")
    order.add("x", "older")
    assert order.last == "last"


def test_it_does_not_grow_without_end():
    order = ItemOrder()
    for number in range(MAX_ITEMS + 10):
        order.add(str(number), order.last)
    assert len(order._ids) == MAX_ITEMS and order.last == str(MAX_ITEMS + 9)
