"""Rows of natural speech: whole voices, and one whole engine, that training does not hear."""

from __future__ import annotations

from functools import partial

from training.data.world import heldout
from training.data.world.speech.engines import missing
from training.data.world.voices import ENGINES, NATURAL_UNSEEN, may_speak
from training.evaluation.suites.world.row import (
    HEARS,
    RIGHT_STATES,
    SEES,
    Row,
    Sampled,
    asked_row,
    several,
    third,
    two_thirds,
)
from training.evaluation.suites.world.transcripts import transcript_row
from training.evaluation.suites.world.turns import end_of_turn_row


def lacks() -> str:
    """What the unseen voices need that is not installed, or not to be used. All of them are needed: with some of them a
    figure would be of other voices than elsewhere."""
    needed = [f"{name}: {why}" for name in NATURAL_UNSEEN if (why := silent(name))]
    return f"natural voices are not there ({'; '.join(needed)})" if needed else ""


def silent(engine: str) -> str:
    """Why an engine does not speak; "" if it does."""
    return missing(engine) if may_speak(engine) else f"{ENGINES} does not name it"


def spoken_row(name: str, samples: Sampled, bar: float) -> Row:
    return asked_row(name, two_thirds(samples), bar, SEES | HEARS, seconds=40, lacks=lacks)


UNANSWERED = {
    name: partial(heldout.unanswered, sort=sort)
    for name, sort in (
        ("backchannels", "backchannel"),
        ("coughs and laughter", "cough or laugh"),
        ("music", "music"),
        ("talk to somebody else", "overheard"),
        ("talk to somebody else, in the world's words", "unaddressed"),
    )
}
SPOKEN = "picture questions, spoken: natural voices, unseen"
ROWS = (
    transcript_row("transcription WER: natural voices, unseen", two_thirds(heldout.natural_transcription), 12.0, lacks),
    spoken_row(SPOKEN, heldout.natural_questions, 80.0),
    spoken_row(f"{SPOKEN}, through a telephone", heldout.telephone_questions, 70.0),
    spoken_row(f"{SPOKEN}, at 10 dB noise", heldout.noisy_questions, 70.0),
    asked_row(
        "state: not to be answered, natural voices, unseen", two_thirds(several(UNANSWERED)), 95.0, HEARS, seconds=30,
        found=RIGHT_STATES, lacks=lacks,
    ),
    end_of_turn_row("end of turn: natural voices, unseen", third(heldout.natural_ends_of_turns), 95.0, lacks),
)  # fmt: skip
