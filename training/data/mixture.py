"""A mixture of sources by percentage: which source sample number k comes from, and the sample itself.

Notable points:
- Sample k is a function of (seed, k) alone, and not of the order of calls, the number of workers or a resume.
- Percentages hold in every hundred samples, not only on average: each hundred is one shuffled deck.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache

from training.data.sample import Sample

DECK = 100


class Mixture:
    """Draws samples from named sources.

    Args:
        percentages: source → percent of the samples; they sum to 100.
        sources: source → a pure function from an index to a sample.
    """

    def __init__(
        self, percentages: Mapping[str, float], sources: Mapping[str, Callable[[int], Sample]], seed: int
    ) -> None:
        if missing := sorted(set(percentages) - set(sources)):
            raise ValueError(f"no source {', '.join(missing)}; there are: {', '.join(sorted(sources))}")
        if abs(sum(percentages.values()) - 100) > 1e-6 or min(percentages.values(), default=0) < 0:
            raise ValueError(f"a mixture's percentages sum to 100, not {sum(percentages.values()):g}: {percentages}")
        self.percentages, self.sources, self.seed = dict(percentages), sources, seed
        self._deck = lru_cache(maxsize=4)(self._shuffled)  # the samples of a step are mostly of one deck or two

    def source_of(self, number: int) -> str:
        """The source of sample `number`."""
        return self._deck(number // DECK)[number % DECK]

    def __getitem__(self, number: int) -> Sample:
        return self.sources[self.source_of(number)](number)

    def where(self, number: int) -> str:
        """Where sample `number` comes from, for messages."""
        return f"sample {number} of {self.source_of(number)}"

    def counts(self, samples: int) -> dict[str, int]:
        """How many of the first `samples` come from each source."""
        counts = Counter()
        for deck in range(samples // DECK):
            counts.update(self._deck(deck))
        counts.update(self._deck(samples // DECK)[: samples % DECK])
        return {name: counts[name] for name in self.percentages}

    def _shuffled(self, number: int) -> list[str]:
        """The sources of one hundred samples, shuffled. Fractions of a sample are carried over to later decks."""
        shift = (number * 0.618033988749895) % 1.0
        deck: list[str] = []
        total = 0.0
        for name, percent in self.percentages.items():
            total += percent
            deck += [name] * (int(total + shift + 1e-6) - len(deck))
        assert len(deck) == DECK, (deck, self.percentages)
        random.Random(f"{self.seed} deck {number}").shuffle(deck)
        return deck
