"""How many HTTP requests are answered at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from services.rpc.errors import ServiceError
from services.telemetry import metrics

RETRY_SECONDS = 1.0


class Admission:
    """One a process."""

    def __init__(self, limit: int):
        self._limit = limit
        self.open = 0

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Around the work of one request. Raises `ServiceError` RESOURCE_EXHAUSTED where `limit` are at work."""
        if self.open >= self._limit:
            metrics.REFUSED.labels("gateway", "max_requests").inc()
            raise ServiceError.at_capacity("requests", self._limit, RETRY_SECONDS)
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
