"""What is being answered: the text and the audio so far, and how much of it was played."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

from services.gateway.conversation.told import Told
from services.gateway.conversation.tool_calls import call_item
from services.gateway.events.items import Item, ItemPart, answer_item_id


@dataclass
class Answer:
    spoken: bool = True  # with audio; otherwise only written
    listed: bool = False  # clients know its item from its first word on, heard or not
    text: str = ""
    tokens: int = 0
    calls: list[Item] = field(default_factory=list)  # complete ones
    samples: int = 0  # of audio, delivered
    sample_rate: int = 0
    marks: list[tuple[int, int]] = field(default_factory=list)  # (samples, characters spoken by then)
    played: int | None = None  # samples, as the client said
    stopped: bool = False  # the client does not play the rest
    first_audio: float = 0.0  # `time.monotonic()`; 0: not yet
    _report: asyncio.Event = field(default_factory=asyncio.Event)
    _awaited: bool = False

    @classmethod
    def of(cls, told: Told, spoken: bool, listed: bool = False) -> Answer:
        """As far as the client has been told it."""
        answer = cls(
            spoken, listed, told.text, samples=told.samples, sample_rate=told.sample_rate, marks=list(told.marks)
        )
        answer.calls = [call_item(told.turn_id, call) for call in told.calls]
        if told.first_audio:
            ago = max(0.0, time.time() - told.first_audio)  # by the clocks of two machines
            answer.first_audio = time.monotonic() - ago
        return answer

    @property
    def being_played(self) -> bool:
        """Audio was delivered that has not been played, as the client says or, where it never does, by the clock."""
        if self.stopped or self.played is not None:
            return not self.stopped and self.played < self.samples
        return time.monotonic() - self.first_audio < self.audio_seconds

    @property
    def audio_seconds(self) -> float:
        return self.samples / self.sample_rate if self.sample_rate else 0.0

    def add_audio(self, samples: int, sample_rate: int, text: str) -> None:
        """`text`: of the answer, spoken once these samples have been played."""
        self.first_audio = self.first_audio or time.monotonic()
        self.sample_rate = sample_rate
        self.samples += samples
        self.marks.append((self.samples, min(len(text), len(self.text))))

    def begin_playing(self) -> None:
        """What was computed before the client was given any of it is given now."""
        self.first_audio = time.monotonic() if self.first_audio else 0.0

    def set_played(self, samples: int) -> None:
        """Nobody can have played more than was sent: such a report counts as all of that."""
        self.played = max(self.played or 0, min(samples, self.samples))
        self._report.set()

    def stop_playing(self) -> None:
        """The client has cut it off."""
        self.stopped = True

    def go_on_from(self, told: Answer) -> None:
        """It has come as far as what the client was told before."""
        self.played, self.first_audio = told.played, told.first_audio or self.first_audio

    def expect_playback_report(self) -> None:
        """What the client has said so far does not tell yet where the answer was interrupted."""
        self._report.clear()

    async def playback_report(self, seconds: float) -> None:
        """Waits at most `seconds`, once, for the client to say how far it had played."""
        if self.played is not None and self.being_played and not self._awaited:
            self._awaited = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._report.wait(), seconds)

    def items(self, turn_id: str, whole: bool) -> list[Item]:
        """As history has it: its message, if any of it was delivered, and its calls. `whole`: it was not cut off."""
        message = self.item(turn_id, whole)
        return [*([message] if message is not None else []), *self.calls]

    def item(self, turn_id: str, whole: bool) -> Item | None:
        """Its message as history has it; None while nothing of it was delivered. `whole`: it was not cut off."""
        if not self.text or (self.spoken and not self.samples and not self.listed):
            return None
        parts = [ItemPart(kind="text", text=self.text)]
        item = Item(id=answer_item_id(turn_id), role="assistant", turn_id=turn_id, parts=parts)
        if not self.spoken:
            return item
        played = self.played
        if played is None and not whole:  # a client that never says: it plays from the first audio on
            played = min(self.samples, round((time.monotonic() - self.first_audio) * self.sample_rate))
        marks = list(self.marks) or [(0, 0)]
        return item.model_copy(update={"marks": marks, "played": played, "sample_rate": self.sample_rate})
