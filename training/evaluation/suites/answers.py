"""Samples asked of a model: which answers are right word for word, which states are right, which answers are empty.

An answer is right if every token of it is the most likely one, which is exactly when greedy decoding writes it. To find
that out takes one forward pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from parley.media.messages import read_media
from parley.models.parley import Parley
from training.data.sample import Sample, text_of
from training.evaluation.table import Measure
from training.objectives.next_token import NextTokenObjective, ScoredAnswer
from training.recipe import Schedule, find_stage

SEQUENCE_LENGTH = 1024  # tokens
FIRST_TOKENS = 4  # of an answer: if they are no words, it has none


@dataclass
class AnswerData:
    """What `NextTokenObjective` reads of its data while it only scores."""

    schedule: Schedule
    tokenizer: Tokenizer

    @classmethod
    def of(cls, model: Parley) -> AnswerData:
        return cls(Schedule(lr=0.0, batch=1, sequence_length=SEQUENCE_LENGTH), model.tokenizer)


@dataclass(frozen=True)
class Asked:
    """Samples, and how the model gives the last answer of each."""

    samples: Sequence[Sample]
    answers: Sequence[ScoredAnswer]
    empty: int | None  # answers without a word; None of a model without a state

    @classmethod
    def of(cls, model: Parley, samples: Sequence[Sample]) -> Asked:
        answers = last_answers(model, samples)
        return cls(samples, answers, None if model.state_head is None else empty_answers(model, samples, answers))

    @property
    def right(self) -> list[bool]:
        """Whether each answer is right, whatever the state."""
        return [answer.right for answer in self.answers]

    @property
    def served(self) -> list[bool]:
        """Whether each answer is right and would be given: the state, if there is one, is not "nothing"."""
        stateless = self.empty is None
        return [answer.right and (stateless or answer.predicted_state != "nothing") for answer in self.answers]

    @property
    def right_states(self) -> list[bool]:
        return [answer.state == answer.predicted_state for answer in self.answers]

    def grouped(self, found: Sequence[bool], name: str) -> dict[str, list[bool]]:
        """What was found of the samples, by an entry of their `about`, for example "kind"; of those that have it."""
        groups: dict[str, list[bool]] = defaultdict(list)
        for sample, ok in zip(self.samples, found, strict=True):
            if name in sample.about:
                groups[sample.about[name]].append(ok)
        return groups

    def row(self, name: str, found: Sequence[bool], bar: float, chance: float | None = None) -> list[Measure]:
        """The percent of what was found, and below it of each "condition", if the samples are of several."""
        groups = self.grouped(found, "condition")
        row = Measure(name, percent(found), len(found), bar, chance=chance, empty=self.empty)
        return [row, *(detail(group, some) for group, some in groups.items() if len(groups) > 1)]

    def mean_over_kinds(self, name: str, bar: float, chance: Callable[[str], float]) -> Measure:
        """The mean over kinds of the answers that are right. `chance`: what guessing gets right of a kind, 0..1."""
        values = {kind: percent(found) for kind, found in self.grouped(self.right, "kind").items()}
        guess = mean({kind: 100 * chance(kind) for kind in values})
        return Measure(name, mean(values), len(self.samples), bar, chance=guess, empty=self.empty)

    def kinds(self, chance: Callable[[str], float]) -> list[Measure]:
        """A row of each kind, and below it of its forms if it has several: the mean of an easy form and a hard one says
        nothing of either."""
        by_kind, by_form = self.grouped(self.right, "kind"), self.grouped(self.right, "form")
        measures = []
        for kind, found in by_kind.items():
            measures.append(detail(kind, found, chance=100 * chance(kind)))
            forms = dict.fromkeys(sample.about["form"] for sample in self.samples if sample.about["kind"] == kind)
            measures += [detail(form, by_form[form], "··") for form in forms if len(forms) > 1]
        return measures


def detail(name: str, found: Sequence[bool], mark: str = "·", **more: float | None) -> Measure:
    """A row below another one. `more`: of `Measure`."""
    return Measure(f"{mark} {name}", percent(found), len(found), **more)


def percent(found: Sequence[bool]) -> float:
    return 100 * sum(found) / len(found)


def mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)


def last_answers(model: Parley, samples: Sequence[Sample]) -> list[ScoredAnswer]:
    """The last answer of each sample, scored."""
    answers = iter(NextTokenObjective(find_stage("2.2"), model, AnswerData.of(model), 0).score(list(samples)))
    last = []
    for sample in samples:
        count = sum(message["role"] == "assistant" for message in sample.messages)
        last.append([next(answers) for _ in range(count)][-1])
    return last


def empty_answers(model: Parley, samples: Sequence[Sample], answers: Sequence[ScoredAnswer]) -> int:
    """How often the model takes what it reads for a question, and then answers without a word.

    A right answer has the words of the reference. Only where that has none, or the answer is wrong, it is written.
    """
    return sum(
        is_empty(model, sample)
        for sample, answer in zip(samples, answers, strict=True)
        if answer.predicted_state != "nothing" and not (answer.right and text_of(sample.messages[-1]))
    )


def is_empty(model: Parley, sample: Sample) -> bool:
    """Whether the model answers without a word though the state is not "nothing"."""
    reply = model.reply(read_media(sample.messages[:-1], model.config), max_tokens=FIRST_TOKENS, speak=False)
    return reply.state != "nothing" and not reply.text.strip()
