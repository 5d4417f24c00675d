"""Rows of natural speech: whole voices, and one whole engine, that training does not hear."""

from __future__ import annotations

from training.data.world import heldout
from training.data.world.speech.engines import missing
from training.data.world.voices import NATURAL_UNSEEN
from training.evaluation.suites.world.row import HEARS, SEES, Row, Sampled, asked_row, two_thirds
from training.evaluation.suites.world.transcripts import transcript_row


def lacks() -> str:
    """What the unseen voices need that is not installed."""
    needed = [f"{name}: {why}" for name in NATURAL_UNSEEN if (why := missing(name))]
    return f"natural voices are not installed ({'; '.join(needed)})" if needed else ""


def spoken_row(name: str, samples: Sampled, bar: float) -> Row:
    return asked_row(name, two_thirds(samples), bar, SEES | HEARS, seconds=40, lacks=lacks)


SPOKEN = "picture questions, spoken: natural voices, unseen"
ROWS = (
    transcript_row("transcription WER: natural voices, unseen", two_thirds(heldout.natural_transcription), 12.0, lacks),
    spoken_row(SPOKEN, heldout.natural_questions, 80.0),
    spoken_row(f"{SPOKEN}, through a telephone", heldout.telephone_questions, 70.0),
    spoken_row(f"{SPOKEN}, at 10 dB noise", heldout.noisy_questions, 70.0),
)
