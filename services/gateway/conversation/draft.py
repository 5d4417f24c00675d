"""What has come for the next question before it begins: pictures, text, camera frames, and a part that was refused."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from services.gateway.media.images import EncodedImage


@dataclass(frozen=True)
class Refusal:
    """A part of a named question was refused, and so the question is."""

    question_id: str
    error: Exception


@dataclass
class Draft:
    max_frames: int
    images: list[asyncio.Task[EncodedImage]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    refusal: Refusal | None = None
    frames: deque[bytes] = field(init=False)  # the newest

    def __post_init__(self) -> None:
        self.frames = deque(maxlen=self.max_frames)

    @property
    def characters(self) -> int:
        return sum(map(len, self.texts))

    def refuse(self, question_id: str, error: Exception) -> None:
        """The first reason counts."""
        if self.refusal is None or self.refusal.question_id != question_id:
            self.refusal = Refusal(question_id, error)

    def refused(self, question_id: str) -> bool:
        return self.refusal is not None and self.refusal.question_id == question_id

    def take_frames(self) -> list[bytes]:
        frames = list(self.frames)
        self.frames.clear()
        return frames

    def clear(self) -> None:
        """It belongs to a question now."""
        self.images, self.texts, self.refusal = [], [], None

    def discard(self) -> None:
        """The client has taken it back."""
        for image in self.images:
            image.cancel()
        self.clear()
        self.frames.clear()
