"""The suites that measure a checkpoint on the user's data, by the name that `parley eval --suite` takes."""

from __future__ import annotations

from training.evaluation.suites.suite import Suite

SUITES = {
    "librispeech": Suite(
        summary="words wrong in transcripts of LibriSpeech",
        data="the folder LibriSpeech; its test-clean and test-other are measured",
        module="transcription",
        function="librispeech",
        published="WER 3.4 on test-clean, 7.5 on test-other",
    ),
    "aishell": Suite(
        summary="characters wrong in transcripts of AISHELL-1's test set",
        data="the folder data_aishell; its wav/test is measured",
        module="transcription",
        function="aishell",
        published="CER 2.2",
    ),
    "speech": Suite(
        summary="words, or Chinese characters, wrong in transcripts of your speech",
        data="speech with transcripts in any format that training reads",
        module="transcription",
        function="speech",
    ),
    "spoken-questions": Suite(
        summary="spoken questions answered right",
        data="dialogues whose last question is audio, in any format that training reads",
        module="spoken_questions",
    ),
    "dialogues": Suite(
        summary="loss, tokens right and answers matched, of dialogues with or without media",
        data="dialogues in any format that training reads, or mix.yaml, of which the held-out records are measured",
        module="dialogues",
    ),
}


def find_suite(name: str) -> Suite:
    """The suite of that name. Raises `ValueError` if there is none."""
    if name not in SUITES:
        raise ValueError(f"no suite {name!r}; there are: {', '.join(SUITES)}")
    return SUITES[name]
