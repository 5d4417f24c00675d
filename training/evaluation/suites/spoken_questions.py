"""The share of spoken questions that is answered right: the answer equals the reference, or holds it.

Both are normalised as transcripts are, so that "Five." is "5". Written evaluations of spoken question answering count an
answer that holds the reference; for a model that was trained to answer in whole sentences only this one says anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from parley.media.messages import read_media
from parley.models.parley import Parley
from training.data.media import open_sample
from training.data.records import RecordError
from training.data.sample import Sample, parts, text_of
from training.data.sources.dialogues import open_dialogues
from training.evaluation.error_rate import chinese, english, language_of
from training.evaluation.suites.asking import answer, load_parts
from training.evaluation.suites.reading import results
from training.evaluation.suites.suite import SuiteRun
from training.evaluation.table import Measure

NEEDED = ("speech_encoder", "speech_adapter", "speech_prompt", "language")
USEFUL = ("vision_encoder", "vision_adapter", "state_head")
MAX_TOKENS = 256  # of an answer


@dataclass(frozen=True)
class Judged:
    equal: bool  # the answer is the reference
    holds: bool  # it holds the words of the reference, one after the other


def measures(run: SuiteRun) -> list[Measure]:
    source = open_dialogues(run.data, media=run.media)
    model = load_parts(run.checkpoint, NEEDED, USEFUL)
    judged = list(results(source, run.count, lambda sample: asked(model, sample), "spoken questions", run.left_out))
    return [
        Measure(f"spoken questions: {name}", 100 * sum(right) / len(right), len(right))
        for name, right in (
            ("answer is the reference", [one.equal for one in judged]),
            ("answer holds the reference", [one.holds for one in judged]),
        )
    ]


def asked(model: Parley, sample: Sample) -> Judged:
    """What the model answers to the last question of a sample, judged. Raises `RecordError` if it is not spoken."""
    question, reference = sample.messages[-2], text_of(sample.messages[-1])
    if not any(part["type"] == "audio" for part in parts(question["content"])):
        raise RecordError("not spoken", "the last question has no audio")
    if not reference.strip():
        raise RecordError("no reference", "the last answer is empty: there is nothing to compare with")
    messages = read_media(open_sample(sample, model.config).messages[:-1], model.config)
    return judge(reference, answer(model, messages, MAX_TOKENS))


def judge(reference: str, written: str) -> Judged:
    if language_of(reference) == "zh":
        wanted, found = chinese(reference), chinese(written)
        return Judged(found == wanted, wanted in found)
    wanted, found = english(reference), english(written)
    return Judged(found == wanted, f" {wanted} " in f" {found} ")
