"""The share of spoken questions that is answered right: the answer equals the reference, or holds it.

Both are normalised as transcripts are, so that "Five." is "5". Evaluations of spoken question answering usually count
an answer that holds the reference: a model that answers in whole sentences seldom writes the reference alone.
"""

from __future__ import annotations

from collections import Counter

from parley.media.messages import read_media
from parley.models.parley import Parley
from training.data.media import open_sample
from training.data.record_error import RecordError
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
EQUAL, HOLDS = "is the reference", "holds the reference"


def measures(run: SuiteRun) -> list[Measure]:
    source = open_dialogues(run.data, media=run.media)
    model = load_parts(run.checkpoint, NEEDED, USEFUL)
    count, right = 0, Counter()
    for judged in results(source, run.count, lambda sample: asked(model, sample), "spoken questions", run.left_out):
        count += 1
        right.update(judged)
    return [Measure(f"spoken questions: answer {name}", 100 * right[name] / count, count) for name in (EQUAL, HOLDS)]


def asked(model: Parley, sample: Sample) -> list[str]:
    """What the model's answer to the last question of a sample is. Raises `RecordError` if that is not spoken."""
    question, reference = sample.messages[-2], text_of(sample.messages[-1])
    if not any(part["type"] == "audio" for part in parts(question["content"])):
        raise RecordError("not spoken", "the last question has no audio")
    messages = read_media(open_sample(sample, model.config).messages[:-1], model.config)
    return judge(reference, answer(model, messages, MAX_TOKENS))


def judge(reference: str, written: str) -> list[str]:
    """Which of `EQUAL` and `HOLDS` is true. Raises `RecordError` for a reference without words."""
    normalise, space = (chinese, "") if language_of(reference) == "zh" else (english, " ")
    wanted, found = normalise(reference), normalise(written)
    if not any(letter.isalnum() for letter in wanted):
        raise RecordError("no reference", f"the last answer, {reference!r}, has no words to compare with")
    holds = space + wanted + space in space + found + space
    return [name for name, true in ((EQUAL, found == wanted), (HOLDS, holds)) if true]
