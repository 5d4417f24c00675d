"""Structured logs: one JSON object a line, with its session (by hash), its turn and, where traced, its trace.

Each process calls `configure` once. Lines go to stderr, or to `PARLEY_LOG_DIR/<service>.jsonl` where that is set
(`log_file`). Logs of other libraries, through `logging`, get the same form. Warnings are limited (`repeat_limit`).
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import structlog

from services.telemetry import tracing
from services.telemetry.log_file import LogFile
from services.telemetry.repeat_limit import RepeatLimit
from services.telemetry.session_hash import session_hash

LOG_DIR_VARIABLE = "PARLEY_LOG_DIR"
LOG_LEVEL_VARIABLE = "PARLEY_LOG_LEVEL"

get_logger = structlog.get_logger


def _add_trace(_, __, event: dict) -> dict:
    if trace_id := tracing.trace_id():
        event.setdefault("trace_id", trace_id)
    return event


def _add_left_out(_, __, event: dict) -> dict:
    if left_out := getattr(event["_record"], "left_out", 0):
        event["left_out"] = left_out
    return event


_SHARED = [
    structlog.contextvars.merge_contextvars,
    _add_trace,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def configure(service: str) -> None:
    """Configures the logs of this process; each line names `service`."""

    def name_service(_, __, event: dict) -> dict:
        event.setdefault("service", service)
        return event

    directory = os.environ.get(LOG_DIR_VARIABLE)
    if directory:
        Path(directory).mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = LogFile(Path(directory) / f"{service}.jsonl")
    else:
        handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RepeatLimit())
    shared = [*_SHARED, name_service]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                _add_left_out,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(os.environ.get(LOG_LEVEL_VARIABLE, "INFO").upper())
    for library in ("httpx", "httpcore"):  # they log URLs, which may be a user's
        logging.getLogger(library).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def bind(session_id: str = "", turn_id: str = "") -> None:
    """Adds the hash of the session and the id of the turn to all further log lines of this task."""
    structlog.contextvars.bind_contextvars(session=session_hash(session_id), turn_id=turn_id)


def ids() -> dict[str, str]:
    """The ids that log lines of this task carry, for a thread that works for it."""
    bound = {name: value for name, value in structlog.contextvars.get_contextvars().items() if value}
    trace_id = tracing.trace_id()
    return {**bound, "trace_id": trace_id} if trace_id else bound


def bind_request(request) -> None:
    """Starts the log context of a call; the ids of a stream are bound when its open message arrives."""
    structlog.contextvars.clear_contextvars()
    if hasattr(request, "session_id"):
        bind(request.session_id, getattr(request, "turn_id", ""))
