"""Measures of answers: the share that is right word for word, and the share of states that is right.

An answer is right if every token of it is the most likely one, which is exactly when greedy decoding writes it. To find
that out takes one forward pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from parley.models.parley import Parley
from training.data.sample import Sample
from training.evaluation.table import Measure
from training.objectives.next_token import NextTokenObjective, ScoredAnswer
from training.recipe import Schedule, find_stage

SEQUENCE_LENGTH = 1024  # tokens


@dataclass
class AnswerData:
    """What `NextTokenObjective` reads of its data while it only scores."""

    schedule: Schedule
    tokenizer: Tokenizer

    @classmethod
    def of(cls, model: Parley) -> AnswerData:
        return cls(Schedule(lr=0.0, batch=1, sequence_length=SEQUENCE_LENGTH), model.tokenizer)


def last_answers(model: Parley, samples: Sequence[Sample]) -> list[ScoredAnswer]:
    """The last answer of each sample, scored."""
    answers = iter(NextTokenObjective(find_stage("2.2"), model, AnswerData.of(model), 0).score(list(samples)))
    last = []
    for sample in samples:
        count = sum(message["role"] == "assistant" for message in sample.messages)
        last.append([next(answers) for _ in range(count)][-1])
    return last


def percent(found: Sequence[bool]) -> float:
    return 100 * sum(found) / len(found)


def mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)


def right(model: Parley, samples: Sequence[Sample]) -> list[bool]:
    """Whether the last answer of each sample is right."""
    return [answer.right for answer in last_answers(model, samples)]


def grouped(samples: Sequence[Sample], found: Sequence[bool], name: str) -> dict[str, list[bool]]:
    """What was found of the samples, by an entry of their `about`: "kind" or "form"."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for sample, ok in zip(samples, found, strict=True):
        groups[sample.about[name]].append(ok)
    return groups


def percent_by_kind(model: Parley, samples: Sequence[Sample]) -> dict[str, float]:
    """Percent right of each kind."""
    return {kind: percent(found) for kind, found in grouped(samples, right(model, samples), "kind").items()}


def question_measures(
    model: Parley, samples: Sequence[Sample], name: str, *, mean_bar: float, worst_bar: float,
    chance: Callable[[str], float],
) -> list[Measure]:  # fmt: skip
    """The mean over kinds, the worst kind, each kind, and below each its forms if it has several: the mean of an easy
    form and a hard one says nothing of either. `chance` gives the share that guessing gets right, by kind."""
    found = right(model, samples)
    by_kind, by_form = grouped(samples, found, "kind"), grouped(samples, found, "form")
    values = {kind: percent(some) for kind, some in by_kind.items()}
    guesses = {kind: 100 * chance(kind) for kind in values}
    worst = min(values, key=values.get)
    measures = [
        Measure(f"{name}: mean over kinds", mean(values), len(samples), mean_bar, chance=mean(guesses)),
        Measure(f"{name}: worst kind ({worst})", values[worst], len(by_kind[worst]), worst_bar, chance=guesses[worst]),
    ]
    for kind, value in values.items():
        measures.append(Measure(f"· {kind}", value, len(by_kind[kind]), chance=guesses[kind]))
        forms = dict.fromkeys(sample.about["form"] for sample in samples if sample.about["kind"] == kind)
        if len(forms) > 1:
            measures += [Measure(f"·· {form}", percent(by_form[form]), len(by_form[form])) for form in forms]
    return measures


def percent_of_states(model: Parley, samples: Sequence[Sample]) -> float:
    """Percent of samples whose last answer has the right state."""
    return percent([answer.state == answer.predicted_state for answer in last_answers(model, samples)])


def ends_of_turns(model: Parley, samples: Sequence[Sample]) -> dict[str, list[bool]]:
    """Whether the end-of-turn head is right of each last question, taken as complete over 0.5: of those that are
    "complete" and of those that are "cut short"."""
    found: dict[str, list[bool]] = {"complete": [], "cut short": []}
    for answer in last_answers(model, samples):
        found["complete" if answer.complete else "cut short"].append(answer.complete == answer.predicted_complete)
    return found
