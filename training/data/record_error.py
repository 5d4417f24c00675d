"""`RecordError`: a record that cannot be learned from, and why."""


class RecordError(ValueError):
    """A bad record; `reason` is its kind, for counting."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
