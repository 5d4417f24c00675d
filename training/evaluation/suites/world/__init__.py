"""The rows of nano's world: held-out questions, speech and turns, each with its bar and with what guessing gives.

The held-out sets are those of `training.data.world.heldout`, the same for every checkpoint.
"""

from training.data.world.heldout import SEEDS
from training.evaluation.suites.world import conditions, natural, questions, speech, transcripts, turns
from training.evaluation.suites.world.row import Row

ROWS: tuple[Row, ...] = (
    *questions.ROWS,
    *transcripts.ROWS,
    *turns.ROWS,
    *speech.ROWS,
    *natural.ROWS,
    speech.JUDGED,
    *conditions.ROWS,
)

__all__ = ["ROWS", "SEEDS", "Row"]
