"""The caption of a picture: every thing in reading order, with size, colour, shape and place."""

from __future__ import annotations

from training.data.world.scenes import Scene

REQUESTS = (
    "describe the picture.",
    "what do you see?",
    "what is in the picture?",
    "tell me what you see.",
    "say what is in the picture.",
    "can you describe the picture?",
)


def caption(scene: Scene) -> str:
    """For example: "a small red circle at the top left, the word stop in the middle."."""
    return f"{scene}."
