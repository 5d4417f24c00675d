"""Where the time of a turn went, by service."""

from __future__ import annotations

import time
from dataclasses import dataclass

from protos.parley.v1 import conversation_pb2 as wire


@dataclass
class Clock:
    """When things happened, `time.monotonic()`; 0: not yet."""

    asked: float = 0.0  # the question was over
    vectors: float = 0.0  # its last vectors had come
    token: float = 0.0  # the first token
    audio: float = 0.0  # the first audio
    decoder: float = 0.0  # seconds: first clause complete → its first audio, as the speech decoder measured it
    vision: float = 0.0  # seconds: picture received → embeddings

    def latency(self) -> wire.Latency:
        latency = wire.Latency(vision_encoder=self.vision)
        if not self.asked:
            return latency
        latency.total = time.monotonic() - self.asked
        thinking_from = max(self.asked, self.vectors)
        latency.speech_encoder = thinking_from - self.asked
        if self.token:
            latency.first_token = self.token - thinking_from
        if self.audio:
            latency.first_audio = self.audio - self.asked
            latency.speech_decoder = min(self.decoder, self.audio - self.token)
            latency.first_clause = self.audio - self.token - latency.speech_decoder
        return latency
