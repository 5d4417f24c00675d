"""What has come for the next question before it begins: pictures, text, camera frames, and a part that was refused."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from services.gateway.media.images import EncodedImage
from services.telemetry import tracing


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
    span: tracing.Span | None = None  # of the turn to come; it begins with the first picture
    frames: deque[bytes] = field(init=False)  # the newest

    def __post_init__(self) -> None:
        self.frames = deque(maxlen=self.max_frames)

    @property
    def characters(self) -> int:
        return sum(map(len, self.texts))

    @property
    def oldest_frame_bytes(self) -> int:
        """Of the frame that makes room for the next one; 0 while there is room."""
        return len(self.frames[0]) if len(self.frames) == self.max_frames else 0

    def refuse(self, question_id: str, error: Exception) -> None:
        """The first reason counts."""
        if self.refusal is None or self.refusal.question_id != question_id:
            self.refusal = Refusal(question_id, error)

    def refused(self, question_id: str) -> bool:
        return self.refusal is not None and self.refusal.question_id == question_id

    def open_span(self) -> tracing.Span:
        """Of the turn that its parts will belong to."""
        if self.span is None:
            self.span = tracing.start_trace("turn")
        return self.span

    def take_span(self) -> tracing.Span:
        """The turn begins, and will end it."""
        span, self.span = self.open_span(), None
        return span

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
        if self.span is not None:
            tracing.end(self.span)
            self.span = None
