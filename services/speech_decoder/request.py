"""What the engine knows of a live answer: its clauses, the codes of the current one, and the audio that it sends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from parley.text.clauses import Clause
from services.engine.thread import Request
from services.speech_decoder.alignment import Alignment

if TYPE_CHECKING:
    from services.speech_decoder.engine import Engine


@dataclass(frozen=True)
class Chunk:
    """A chunk of audio, or the end of an answer."""

    audio: bytes  # 16-bit little-endian
    text: str  # of the answer, up to the end of this chunk
    done: bool
    truncated: bool  # speech of a clause was cut
    compute_seconds: float  # of the answer so far: its share of the steps that it was in
    first_audio_seconds: float


@dataclass
class ClauseSynthesis:
    """The clause that is being synthesized."""

    clause: Clause
    alignment: Alignment
    limit: int  # codec frames after which it is cut
    codes: list[int] = field(default_factory=list)
    decoded: int = 0  # codes that became audio
    ended: bool = False

    def window(self, wanted: int, behind: int, ahead: int) -> tuple[int, int, int] | None:
        """Codes to decode now (left context, new codes, right context); None while fewer than `wanted` are ready."""
        right = 0 if self.ended else ahead
        ready = len(self.codes) - self.decoded - right
        return (min(behind, self.decoded), ready, right) if self.ended or ready >= wanted else None


class SynthesisRequest(Request[Chunk]):
    """One live answer, as its caller sees it."""

    def __init__(self, engine: Engine, speaker_tokens: list[int], seed: int):
        super().__init__(engine)
        # Used by the engine's thread:
        self.speaker_tokens = torch.tensor(speaker_tokens, device=engine.device)
        self.generator = torch.Generator().manual_seed(seed)
        self.clauses: deque[Clause] = deque()  # not begun
        self.complete = False  # no more clauses will come
        self.live = True
        self.current: ClauseSynthesis | None = None
        self.text = ""  # of the clauses before
        self.chunks = 0  # sent
        self.truncated = False
        self.clause_ready = 0.0  # when the first clause with speech came
        self.first_audio_seconds = 0.0
        self.steps.begin("first_clause")
        self.compute_seconds = 0.0
        self.busy_since = 0.0  # when the current clause came up
        self.busy_seconds = 0.0  # that the clauses before took, with their waits for a slot
        self.frames = 0  # of them

    def add_clause(self, clause: Clause) -> None:
        self.post("clause", clause)

    def finish(self) -> None:
        """The text is complete; the last event has `done`."""
        self.post("finish")
