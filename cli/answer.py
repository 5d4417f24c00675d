"""What one turn of a conversation sends, and what comes back."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import State
from protos.parley.v1.usage_pb2 import FinishReason, Usage


@dataclass
class Question:
    """What one turn sends. `audio`: raw samples, 16-bit little-endian mono, at the configured rate."""

    text: str = ""
    audio: bytes = b""
    images: list[bytes] = field(default_factory=list)  # files
    videos: list[bytes] = field(default_factory=list)  # files
    sample_rate: int = 16_000
    chunk_seconds: float = 0.06
    paced: bool = True  # audio is sent as fast as it is spoken; otherwise at once


@dataclass
class Answer:
    """What came back. Times are seconds at this client, from the end of the question."""

    turn_id: str = ""
    transcript: str = ""
    state: str = ""  # speech, text, nothing
    probability: float = 0.0  # of the state
    text: str = ""
    kept: str = ""  # of the text, as the session's history has it
    audio: bytes = b""  # 16-bit little-endian mono
    sample_rate: int = 0
    finish_reason: str = ""  # stop, length, nothing, cancelled, failed
    usage: Usage = field(default_factory=Usage)
    calls: list[wire.FunctionCallDone] = field(default_factory=list)
    error: wire.ErrorEvent | None = None
    latency: wire.Latency = field(default_factory=wire.Latency)  # as the gateway measured it
    first_audio: float = 0.0
    total: float = 0.0

    @property
    def complete(self) -> bool:
        """It came to its end, or to its longest."""
        return self.finish_reason in ("stop", "length")

    @property
    def audio_seconds(self) -> float:
        return len(self.audio) / 2 / self.sample_rate if self.sample_rate else 0.0

    def take(self, event: wire.ServerEvent, asked: float) -> bool:
        """Adds an event of the turn. True where it is over. `asked`: when the question ended (`time.monotonic()`)."""
        self.turn_id = event.turn_id or self.turn_id
        match event.WhichOneof("event"):
            case "transcript":
                self.transcript = event.transcript.text
            case "state":
                self.state = State.Name(event.state.state).removeprefix("STATE_").lower()
                self.probability = max(event.state.probabilities, default=0.0)
            case "text":
                self.text += event.text.text
            case "function_call_done":
                self.calls.append(event.function_call_done)
            case "audio":
                self.first_audio = self.first_audio or time.monotonic() - asked
                self.audio += event.audio.audio
                self.sample_rate = event.audio.sample_rate
            case "error":
                self.error = self.error or event.error  # the first is the cause; `done` follows
            case "done":
                reason = FinishReason.Name(event.done.finish_reason)
                self.finish_reason = reason.removeprefix("FINISH_REASON_").lower()
                self.usage = event.done.usage
                self.kept = event.done.text
                self.latency = event.done.latency
                self.total = time.monotonic() - asked
                return True
        return False
