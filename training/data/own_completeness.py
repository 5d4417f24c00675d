"""Which of a user's spoken questions are complete, and how much silence is behind them: for the end-of-turn head.

A pause is looked at when it is about 0.1 s old, and recordings often end with more silence. So half of the utterances
are shortened, complete ones and those cut short alike: only what was said must tell them apart.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.data.record_error import RecordError
from training.data.sample import SAMPLE_RATE, Sample, parts, turn_states
from training.data.speak.draws import draws
from training.data.speak.recording import QUIET, WINDOW, window_power

SHORTENED = 0.5  # of the utterances
SILENCE = (0.06, 0.2)  # seconds that these keep behind the last sound


def with_completeness(sample: Sample, kind: str, *names: str | int) -> Sample:
    """A decoded sample of "spoken_questions" or "cut_questions", with what is known of its questions.

    `names` seed what is drawn. Raises `RecordError` for a record of cut questions that does not end with one.
    """
    messages = _cut(sample.messages) if kind == "cut_questions" else _complete(sample.messages)
    messages = [_shortened(message, *names, number) for number, message in enumerate(messages)]
    return replace(sample, messages=messages, state=turn_states(messages)[-1])


def _complete(messages: list[dict]) -> list[dict]:
    """Each answer to speech says that its question was complete."""
    states = iter(turn_states(messages))
    return [
        message | {"complete": True} if message["role"] == "assistant" and next(states) == "speech" else message
        for message in messages
    ]


def _cut(messages: list[dict]) -> list[dict]:
    """The last answer, a refusal in the record, is one to a question of ours that was cut short."""
    *before, asked, answer = messages
    if answer.get("state") != "nothing" or not any(part["type"] == "audio" for part in parts(asked["content"])):
        raise RecordError(
            "no cut question", "the record does not end with a spoken question and inserted_id on its answer"
        )
    return [*before, asked, answer | {"content": "", "state": "speech", "complete": False}]


def _shortened(message: dict, *names: str | int) -> dict:
    """The message, maybe with less silence behind what is said in it."""
    rng = draws("silence", *names)
    if message["role"] != "user" or isinstance(message["content"], str) or rng.random() >= SHORTENED:
        return message
    content = [
        part | {"audio": less_silence(part["audio"], rng.uniform(*SILENCE))} if part["type"] == "audio" else part
        for part in message["content"]
    ]
    return {**message, "content": content}


def less_silence(audio: np.ndarray, seconds: float) -> np.ndarray:
    """The audio (float32, 16 kHz) up to so long after its last sound."""
    power = window_power(audio)
    last = int(np.flatnonzero(power >= QUIET**2 * power.max())[-1])
    return audio[: (last + 1) * WINDOW + round(seconds * SAMPLE_RATE)]
