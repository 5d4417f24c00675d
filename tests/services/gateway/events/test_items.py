"""Items: their JSON, and how much of an answer was played."""

from __future__ import annotations

import pytest

from services.gateway.events.items import Item, ItemPart, Ref, played_text

ANSWER = "the circle is red. it is at the top left."
MARKS = [(1000, 18), (3000, len(ANSWER))]


@pytest.mark.parametrize(
    ("samples", "played"),
    [
        (None, ANSWER),
        (0, ""),
        (500, "the"),  # half of the first clause, whole words only
        (1000, "the circle is red."),
        (2000, "the circle is red. it is at"),
        (3000, ANSWER),
        (9999, ANSWER),
    ],
)
def test_an_answer_is_cut_where_playing_stopped(samples, played):
    assert played_text(ANSWER, MARKS, samples) == played


def test_text_that_was_never_spoken_is_not_played():
    assert played_text("one two three", [(100, 3)], 100) == "one"


def test_an_item_survives_its_json():
    parts = [ItemPart(kind="image", ref=Ref(weights="w", hash="h", length=9)), ItemPart(kind="text", text=ANSWER)]
    item = Item(id="i", role="assistant", turn_id="t", parts=parts, marks=MARKS, played=0)
    assert Item.model_validate_json(item.to_json()) == item
