"""How many values the JSON of a client may have.

They are counted, by their commas and brackets, before anything is parsed: a check notes what is wrong with each, which
takes a kilobyte for a value of two bytes.
"""

from __future__ import annotations

MAX_VALUES = 20_000
MESSAGE = f"has more than {MAX_VALUES} commas and opening brackets"


def count_values(text: bytes) -> int:
    """About as many as the JSON has, more where strings hold commas and brackets."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")
