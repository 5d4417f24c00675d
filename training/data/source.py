"""What every format of a user's data becomes: records by index, with a length and a fingerprint.

Notable points:
- Random access, because a sample is a function of (seed, number): the position in the data is exact on any number of
  processes without any state of a loader.
- A source stays on the disk: a process holds an index of it, not its records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

Item = TypeVar("Item", covariant=True)


@dataclass(frozen=True)
class Utterance:
    """Speech with its transcript, not read yet."""

    audio: str | bytes  # path of a file, or the content of one
    text: str
    speaker: str = ""  # "" where nobody knows
    start: float = 0.0  # seconds into the file
    seconds: float | None = None  # from `start`; None: to the end of the file
    id: str = ""
    channel: int | None = None  # of the file, from 0; None: the mean of all


class Source(Protocol[Item]):
    """Dialogues (`Sample`, media as paths or as the bytes of files) or speech (`Utterance`) by index."""

    fingerprint: str  # hexadecimal; another one where any record is another

    def __len__(self) -> int:
        """How many records there are, good and bad."""

    def __getitem__(self, index: int) -> Item:
        """Record `index`. Raises `RecordError` (`training.data.record_error`) if it is bad."""

    def where(self, index: int) -> str:
        """Where record `index` is, for messages: "file:line (id …)"."""

    def group(self, index: int) -> str:
        """What must not be both learned from and held out: the picture or the speaker; "" where there is neither.

        Raises `RecordError` for a record that is too bad to tell.
        """
