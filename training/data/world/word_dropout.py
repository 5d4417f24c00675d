"""Word dropout: a question without some of its function words, so that whole sentences cannot be learned by heart."""

from __future__ import annotations

from random import Random

DROPPABLE = ("please", "tell", "me", "can", "you", "do", "see", "the", "is", "of")  # a question can do without them


def drop_words(text: str, rng: Random) -> str:
    """The text without one to three of its droppable words, if it has as many."""
    words = text.split()
    droppable = [place for place, word in enumerate(words) if word.strip(",") in DROPPABLE]
    dropped = rng.sample(droppable, min(len(droppable), rng.randint(1, 3)))
    return " ".join(word for place, word in enumerate(words) if place not in dropped)
