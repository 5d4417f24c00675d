"""How logs and traces name a session: by a hash of its id, because the id itself opens the session."""

from __future__ import annotations

import hashlib

DIGITS = 16  # of the hexadecimal SHA-256: `printf %s ID | sha256sum | cut -c1-16`


def session_hash(session_id: str) -> str:
    """Empty for an empty id."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:DIGITS] if session_id else ""
