"""What is being answered: what has been written and said so far, and how much of it was heard."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from services.gateway.history import KeptMessage, KeptPart


@dataclass
class Answer:
    spoken: bool = True  # with audio; otherwise only written
    text: str = ""
    samples: int = 0  # of audio, delivered
    sample_rate: int = 0
    marks: list[tuple[int, int]] = field(default_factory=list)  # (samples, characters heard by then)
    played: int | None = None  # samples, as the client said
    first_audio: float = 0.0  # `time.monotonic()`; 0: not yet

    @property
    def being_played(self) -> bool:
        """Audio was delivered that the client has not said to have played; only of clients that do say."""
        return self.played is not None and self.played < self.samples

    def add_audio(self, samples: int, sample_rate: int, text: str) -> None:
        """`text`: of the answer, heard once these samples have been played."""
        self.first_audio = self.first_audio or time.monotonic()
        self.sample_rate = sample_rate
        self.samples += samples
        self.marks.append((self.samples, min(len(text), len(self.text))))

    def kept(self, turn_id: str, whole: bool) -> KeptMessage | None:
        """As history has it; None while nothing of it was delivered. `whole`: it was not cut off."""
        if not self.text or (self.spoken and not self.samples):
            return None
        parts = [KeptPart(kind="text", text=self.text)]
        if not self.spoken:
            return KeptMessage(role="assistant", turn_id=turn_id, parts=parts)
        heard = self.played
        if heard is None and not whole:  # a client that never says: it plays from the first audio on
            heard = min(self.samples, round((time.monotonic() - self.first_audio) * self.sample_rate))
        return KeptMessage(role="assistant", turn_id=turn_id, parts=parts, marks=list(self.marks), heard=heard)
