"""The playback of an answer at a client, as it is heard: when it begins, when it runs out of audio, when it ends."""

from __future__ import annotations

from dataclasses import dataclass

BUFFER_SECONDS = 0.1  # that are there before the player starts


@dataclass
class Player:
    """Plays what comes, once `BUFFER_SECONDS` are there; when it has nothing left it waits for as much again."""

    received: float = 0.0  # seconds
    underruns: int = 0
    gap: float = 0.0  # seconds of silence within the answer
    first: float = 0.0  # when audio came, `time.monotonic()`
    last: float = 0.0
    _began: float = 0.0  # when it would have begun to play, had there been no gap; 0: it waits
    _held: float = 0.0  # received, and not played when it began to wait
    _dry: float = 0.0  # since when there is nothing left

    def add(self, seconds: float, now: float) -> None:
        self.first = self.first or now
        self.last = now
        if self._began and now > self._began + self.received:
            self.underruns += 1
            self._dry, self._began, self._held = self._began + self.received, 0.0, 0.0
        self.received += seconds
        if not self._began:
            self._held += seconds
            if self._held >= BUFFER_SECONDS:
                self._start(now)

    def finish(self, now: float) -> None:
        """Nothing more will come: what there is is played."""
        if self.received and not self._began:
            self._start(now)

    def _start(self, now: float) -> None:
        if self._dry:
            self.gap, self._dry = self.gap + now - self._dry, 0.0
        self._began = now - (self.received - self._held)

    @property
    def ends(self) -> float:
        """When what there is will have been played."""
        return self._began + self.received if self._began else 0.0

    def played(self, now: float) -> float:
        return min(max(now - self._began, 0.0), self.received) if self._began else 0.0
