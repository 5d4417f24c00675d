"""The published order of work, with the same weights: one thing after another, one request at a time.

Nothing happens while the user speaks, nor while the server waits to see whether the user has finished: the gateway's
own voice activity detection with its fixed wait (`PARLEY_GATEWAY_VAD_END_SECONDS`), run over the clip, says how long
that takes. Then the picture and the whole question are encoded, the whole answer is written, and the whole answer is
spoken. What was said before in the dialogue is read as text.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.clip import Clip
from benchmarks.microphone import CHUNK_SECONDS, noise
from parley.checkpoints import load_model
from parley.media.messages import read_media
from parley.text.clauses import split
from services.gateway.media.detector import Detector
from services.gateway.media.voice_activity import VoiceActivity
from services.gateway.settings import VadSettings

LONGEST_WAIT = 5.0  # seconds of silence after a clip


@dataclass(frozen=True)
class PublishedTurn:
    """Seconds from the end of the question, as the server knows it."""

    text: float  # the whole answer is written
    first_clause: float  # its first clause is spoken: as early as this order allows
    whole: float  # all of it is spoken: what is sent at once


@dataclass(frozen=True)
class DetectedEnd:
    wait: float  # seconds from the last voiced sample until the server knows that the question is over
    cut: bool  # it took a pause for the end before


async def detect_end(clip: Clip, vad: VadSettings, detector: Detector) -> DetectedEnd:
    """As the gateway detects it, of a clip at 16 kHz that comes in chunks of a microphone.

    Raises `ValueError` where no end is found within `LONGEST_WAIT` of silence.
    """
    activity = VoiceActivity(vad, clip.sample_rate, detector)
    audio = np.concatenate([clip.audio, noise(round(LONGEST_WAIT * clip.sample_rate), 0)])
    chunk, cut = round(CHUNK_SECONDS * clip.sample_rate), False
    try:
        for at in range(0, len(audio), chunk):
            kinds = [segment.kind for segment in await activity.feed(audio[at : at + chunk].tobytes())]
            if "end" in kinds:
                wait = (at + chunk - clip.voiced[1]) / clip.sample_rate
                if wait > 0:
                    return DetectedEnd(wait, cut)
                cut = True
    finally:
        activity.close()
    raise ValueError(f"no end of {clip.text!r} was detected within {LONGEST_WAIT} s of silence")


@dataclass
class PublishedDialogue:
    """What was said before: text, and the picture."""

    picture: bytes
    messages: list[dict] = field(default_factory=list)

    def question(self, part: dict) -> dict:
        shown = [] if self.messages else [{"type": "image", "image": self.picture}]
        return {"role": "user", "content": [*shown, part]}

    def add(self, text: str, answer: str) -> None:
        self.messages += [self.question({"type": "text", "text": text}), {"role": "assistant", "content": answer}]


class PublishedOrder:
    def __init__(self, checkpoint: Path, max_tokens: int):
        self._model = load_model(checkpoint)
        self._max_tokens = max_tokens
        self._worker = ThreadPoolExecutor(1)  # one request at a time, as the published server

    async def ask(self, clip: Clip, wait: float, dialogue: PublishedDialogue) -> PublishedTurn:
        """The question is over now, `wait` seconds after its last voiced sample. The time in the queue counts."""
        heard = clip.audio[: clip.voiced[1] + round(wait * clip.sample_rate)]
        question = {"type": "audio", "audio": heard.astype(np.float32) / 32768}
        return await asyncio.get_running_loop().run_in_executor(
            self._worker, self._ask, clip.text, question, dialogue, time.monotonic()
        )

    @torch.inference_mode()
    def _ask(self, said: str, question: dict, dialogue: PublishedDialogue, asked: float) -> PublishedTurn:
        model = self._model
        messages = read_media([*dialogue.messages, dialogue.question(question)], model.config)
        reply = model.reply(messages, max_tokens=self._max_tokens, speak=False, always=True)
        text = time.monotonic() - asked
        pieces = [model.tokenizer.decode([token]) for token in reply.token_ids]
        clauses = split(reply.token_ids, pieces)
        model.speak(clauses[0].ids if clauses else [])
        first_clause = time.monotonic() - asked
        for clause in clauses[1:]:
            model.speak(clause.ids)
        dialogue.add(said, reply.text)
        return PublishedTurn(text, first_clause, time.monotonic() - asked)

    def close(self) -> None:
        self._worker.shutdown()
