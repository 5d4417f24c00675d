"""Which records of a user's data are held out: about 2 %, whole pictures and whole speakers at a time.

Notable points:
- A hash of the picture or the speaker decides, so it is the same for every seed, every stage, and wherever else in the
  mix the same picture is. Records with neither are held out one by one.
- A source of at least `FEWEST` records holds out a few even where the hash chooses none, but never more than a fifth.
- Every record is looked at once, and the hashes are kept in a file for the next stage. In sources of up to `CHECKED`
  records this finds the bad ones; in larger ones they are found when they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.data.mix import SPEECH, MixSource
from training.data.permutation import LOW_32, key_of, mix_bits
from training.data.record_error import RecordError
from training.distributed.process_group import is_main_process, rank

HELD_OUT = 0.02  # of the groups
MOST = 0.2  # of the records of a source
FEW = 3  # records that are held out at least
FEWEST = 50  # records of a source that holds out any
FEWEST_SPEAKERS = 20  # with fewer, utterances are held out one by one
BAD, NO_GROUP = 0, 1  # in place of a hash: of a record that cannot be read, of one with neither picture nor speaker
CHECKED = 100_000  # records: about 5 s, and a check of 1 M would take longer than reading their pictures' names
SHOWN = 10_000  # records whose reading has a progress bar


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be learned from."""

    index: int
    error: RecordError


@dataclass(frozen=True)
class Split:
    """The records of a source by number, in order."""

    learned: np.ndarray  # uint32 [records]
    held_out: np.ndarray  # uint32 [records]
    bad: tuple[BadRecord, ...] = ()  # of sources of up to `CHECKED` records
    by: str = "record"  # what is held out whole: "picture", "speaker" or "record"


def split(sources: Sequence[MixSource], folder: Path | None = None) -> list[Split]:
    """Splits all sources of a mix together; `folder`: where the hashes of groups are kept, None to keep none."""
    read = [_read(mixed, folder) for mixed in sources]
    units = [_units(mixed, hashes) for mixed, (hashes, _) in zip(sources, read, strict=True)]
    chosen = np.unique(np.concatenate([chosen_alone(hashes) for hashes, _ in units]))
    return [
        # `groups`: a speaker whom another source holds out is held out here too, where utterances are chosen one by one
        _split(hashes, np.isin(hashes, chosen) | np.isin(groups, chosen), bad, by)
        for (hashes, by), (groups, bad) in zip(units, read, strict=True)
    ]


def chosen_alone(hashes: np.ndarray) -> np.ndarray:
    """The hashes [n] that a source with a hash for each record [records] would hold out alone: the smallest ones."""
    if len(hashes) < FEWEST:
        return hashes[:0]
    groups, counts = np.unique(hashes[hashes != BAD], return_counts=True)
    records = counts.cumsum()
    size = max(np.searchsorted(groups, np.uint64(HELD_OUT * 2**64)), np.searchsorted(records, FEW) + 1)
    return groups[: min(size, np.searchsorted(records, MOST * len(hashes), side="right"))]


def _split(hashes: np.ndarray, chosen: np.ndarray, bad: list[BadRecord], by: str) -> Split:
    good = hashes != BAD
    learned, held_out = (np.flatnonzero(which).astype(np.uint32) for which in (good & ~chosen, good & chosen))
    return Split(learned, held_out, tuple(bad), by)


def _units(mixed: MixSource, groups: np.ndarray) -> tuple[np.ndarray, str]:
    """A hash for each record, equal where records are held out together, and what such records share."""
    spoken = mixed.kind in SPEECH
    known = groups > NO_GROUP
    if not known.any() or (spoken and len(np.unique(groups[known])) < FEWEST_SPEAKERS):
        return np.where(groups == BAD, groups, index_hashes(mixed.name, len(groups))), "record"
    alone = index_hashes(mixed.name, len(groups))
    return np.where(groups == NO_GROUP, alone, groups), "speaker" if spoken else "picture"


def _read(mixed: MixSource, folder: Path | None) -> tuple[np.ndarray, list[BadRecord]]:
    """The hash of each record's group, `BAD` and `NO_GROUP` among them, and the bad records."""
    place = key_of(mixed.folder.absolute(), mixed.media.absolute())  # pictures are named relative to these
    file = None if folder is None else folder / f"{mixed.source.fingerprint}-{place:08x}.npy"
    if file is not None and file.exists():
        hashes = np.load(file)
        indices = np.flatnonzero(hashes == BAD)  # a missing file may be there by now
    else:
        hashes = np.zeros(len(mixed.source), np.uint64)
        indices = range(len(mixed.source))
    bad = _fill(hashes, indices, mixed)
    if file is not None:
        _keep(hashes, file)
    return hashes, bad


def _fill(hashes: np.ndarray, indices: Sequence[int], mixed: MixSource) -> list[BadRecord]:
    """Puts in the hashes of the groups of the records `indices`; returns the bad ones."""
    bad = []
    hidden = not is_main_process() or len(indices) < SHOWN
    for index in tqdm(indices, f"reading {mixed.name}", unit=" records", disable=hidden, mininterval=1.0):
        try:
            if len(mixed.source) <= CHECKED:
                mixed.source[int(index)]
            hashes[index] = group_hash(mixed.group(int(index)))
        except RecordError as error:
            bad.append(BadRecord(int(index), error))
    return bad


def index_hashes(name: str, records: int) -> np.ndarray:
    """A different number for each record of the source of that name, uint64 [records]; never `BAD` or `NO_GROUP`."""
    index = np.arange(records)
    high = mix_bits((index + key_of(name)) & LOW_32)
    return high.astype(np.uint64) << np.uint64(32) | (index + 1 + NO_GROUP).astype(np.uint64)


def group_hash(group: str) -> int:
    """A 64-bit number that depends on the group alone; `NO_GROUP` for none."""
    if not group:
        return NO_GROUP
    found = int.from_bytes(blake2b(group.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
    return max(found, NO_GROUP + 1)


def _keep(hashes: np.ndarray, file: Path) -> None:
    """Every process of a stage may write the same file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{rank()}.part")
    with temporary.open("wb") as opened:
        np.save(opened, hashes)
    temporary.replace(file)
