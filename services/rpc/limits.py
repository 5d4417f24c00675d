"""Refusals of requests that are above a limit, counted in the metrics."""

from __future__ import annotations

from services.rpc.errors import ServiceError
from services.telemetry import metrics


def too_much(service: str, limit: str, message: str) -> ServiceError:
    """The error to raise. `limit`: the name of the setting; the message states the limit."""
    metrics.REFUSED.labels(service, limit).inc()
    return ServiceError.too_much(message)
