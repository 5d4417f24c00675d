"""Which transcripts the CTC loss of stage 2.2 can learn from: those that the model's CTC head can write whole.

Of "What is 3 + 5?" a head of letters would learn "what is" where five words are spoken; of Chinese text a head of Latin
letters has nothing left.
"""

from __future__ import annotations

from dataclasses import replace

from parley.text.ctc import CtcVocabulary
from training.data.sample import Sample, parts


def with_writable_transcripts(sample: Sample, vocabulary: CtcVocabulary | None) -> Sample:
    """The sample without the transcripts that the head cannot write; without all where there is no head."""
    messages = [
        {**message, "content": [_writable(part, vocabulary) for part in parts(message["content"])]}
        if message["role"] == "user"
        else message
        for message in sample.messages
    ]
    return replace(sample, messages=messages)


def _writable(part: dict, vocabulary: CtcVocabulary | None) -> dict:
    text = part.get("transcript")
    if text is None or (vocabulary is not None and vocabulary.writes(text)):
        return part
    return {name: value for name, value in part.items() if name != "transcript"}
