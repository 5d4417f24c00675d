"""Where the time of a turn went, by service."""

from __future__ import annotations

import time
from dataclasses import dataclass

from services.gateway.events import Latency


@dataclass
class TurnClock:
    """When things happened, `time.monotonic()`; 0: not yet."""

    asked: float = 0.0  # the question was complete
    embeddings: float = 0.0  # its last embeddings had come
    token: float = 0.0  # the first token
    audio: float = 0.0  # the first audio
    decoder: float = 0.0  # seconds: first clause complete → its first audio, as the speech decoder measured it
    vision: float = 0.0  # seconds: picture received → embeddings

    def latency(self) -> Latency:
        if not self.asked:
            return Latency(vision_encoder=self.vision)
        generating_since = max(self.asked, self.embeddings)
        decoder = min(self.decoder, self.audio - self.token) if self.audio else 0.0
        return Latency(
            first_audio=self.audio - self.asked if self.audio else 0.0,
            speech_encoder=generating_since - self.asked,
            first_token=self.token - generating_since if self.token else 0.0,
            first_clause=self.audio - self.token - decoder if self.audio else 0.0,
            speech_decoder=decoder,
            vision_encoder=self.vision,
            total=time.monotonic() - self.asked,
        )
