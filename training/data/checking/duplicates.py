"""Records that are there twice: 20 bytes a record in memory, of 64-bit hashes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.data.checking.findings import Findings
from training.data.records import Bad


def mark_duplicates(found: Findings, where: Callable[[int], str]) -> None:
    """Counts each good record that says what an earlier one says as bad."""
    hashes, indices = np.frombuffer(found.hashes, np.uint64), np.frombuffer(found.indices, np.uint32)
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    earlier = first[inverse]
    for place in np.flatnonzero(earlier != np.arange(len(hashes))).tolist():
        found.good -= 1
        detail = f"record seen before: the same record is already at {where(int(indices[earlier[place]]))}"
        found.add_bad(Bad(where(int(indices[place])), "", "record seen before", detail))
