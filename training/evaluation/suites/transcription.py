"""Word and character error rates of speech recognition, by the CTC head and by the language model.

The language model writes the transcript after stage 2.1b, which teaches it to. After 2.2 it answers what it hears, so
it must be asked in writing for a transcript.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial

import numpy as np

from parley.checkpoints import CheckpointError
from parley.models.parley import Parley
from training.data.media import read_utterance
from training.data.record_error import RecordError
from training.data.source import Source, Utterance
from training.data.sources.speech import open_speech
from training.evaluation.error_rate import ErrorRate, language_of
from training.evaluation.suites import corpora
from training.evaluation.suites.asking import answer, load_parts
from training.evaluation.suites.reading import results
from training.evaluation.suites.recognition import transcript
from training.evaluation.suites.suite import SuiteRun
from training.evaluation.table import Measure

Transcribe = Callable[[np.ndarray], str]

READERS = {  # what writes a transcript → the parts that it needs
    "CTC head": ("speech_encoder", "ctc_head"),
    "LLM": ("speech_encoder", "speech_adapter", "speech_prompt", "language"),
}
MAX_TOKENS = 256  # of a transcript by the language model
LANGUAGE_FROM = 20  # transcripts that tell the language


def librispeech(run: SuiteRun) -> list[Measure]:
    return split_measures(run, corpora.librispeech(run.data), "en")


def aishell(run: SuiteRun) -> list[Measure]:
    return split_measures(run, corpora.aishell(run.data), "zh")


def speech(run: SuiteRun) -> list[Measure]:
    """Of any format of speech that training reads; its first transcripts tell whether words or characters count."""
    source = open_speech(run.data, media=run.media)
    return split_measures(run, {run.data.name: source}, language_of(" ".join(first_texts(source))))


def first_texts(source: Source[Utterance]) -> Iterator[str]:
    for index in range(min(LANGUAGE_FROM, len(source))):
        with suppress(RecordError):  # it is counted when it is measured
            yield source[index].text


def split_measures(run: SuiteRun, splits: Mapping[str, Source[Utterance]], language: str) -> list[Measure]:
    """The error rate of each reader that the checkpoint has, on each split."""
    readers = [reader for reader, parts in READERS.items() if set(parts) <= set(run.checkpoint.parts)]
    if not readers:
        raise CheckpointError(
            f"{run.checkpoint.path} cannot transcribe: it has neither a CTC head nor an LLM with a speech adapter"
        )
    needed = dict.fromkeys(part for reader in readers for part in READERS[reader])
    model = load_parts(run.checkpoint, needed, useful=["state_head"])
    transcribers = {reader: transcriber(reader, model, run.ask) for reader in readers}
    return [
        measure
        for name, utterances in splits.items()
        for measure in error_rates(run, transcribers, name, utterances, language)
    ]


def transcriber(reader: str, model: Parley, ask: str) -> Transcribe:
    """A function of float32 audio [samples] at the encoder's rate."""
    if reader == "CTC head":
        return partial(transcript, model)
    request = [{"type": "text", "text": ask}] if ask else []

    def transcribe(audio: np.ndarray) -> str:
        content = [{"type": "audio", "audio": audio}, *request]
        return answer(model, [{"role": "user", "content": content}], MAX_TOKENS)

    return transcribe


def error_rates(
    run: SuiteRun, transcribers: Mapping[str, Transcribe], name: str, utterances: Source[Utterance], language: str
) -> list[Measure]:
    """The error rate of each reader on one split."""
    sample_rate = run.checkpoint.config.speech.sample_rate

    def heard(utterance: Utterance) -> tuple[str, dict[str, str]]:
        """The reference, and what each reader writes."""
        if not utterance.text.strip():
            raise RecordError("no transcript", "the utterance has no transcript to compare with")
        audio = read_utterance(utterance, sample_rate)
        return utterance.text, {reader: transcribe(audio) for reader, transcribe in transcribers.items()}

    rates = {reader: ErrorRate.of(language) for reader in transcribers}
    for reference, written in results(utterances, run.count, heard, name, run.left_out):
        for reader, text in written.items():
            rates[reader].add(reference, text)
    return [Measure(f"{name}: {rate.unit}, {reader}", rate.percent, rate.utterances) for reader, rate in rates.items()]
