"""A request that is above a limit: counted, and refused in words that say what would fit."""

from __future__ import annotations

from services.rpc.errors import ServiceError
from services.telemetry import metrics


def too_much(service: str, limit: str, message: str) -> ServiceError:
    """The refusal to raise; `limit`: the name of the setting."""
    metrics.REFUSED.labels(service, limit).inc()
    return ServiceError.too_much(message)
