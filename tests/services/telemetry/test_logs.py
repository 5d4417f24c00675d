import json
import logging
import time

import pytest
import structlog

from services.telemetry import logs
from services.telemetry.repeat_limit import MOST, SECONDS
from services.telemetry.session_hash import session_hash


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """Configures the logs of a service into a file; gives a function that reads its lines."""
    handlers = logging.getLogger().handlers
    monkeypatch.setenv(logs.LOG_DIR_VARIABLE, str(tmp_path))
    logs.configure("a_service")
    yield lambda: [json.loads(line) for line in (tmp_path / "a_service.jsonl").read_text().splitlines()]
    logging.getLogger().handlers = handlers
    structlog.reset_defaults()  # loggers keep the configuration of their first use


def test_a_line_has_the_service_and_the_ids(lines):
    logs.bind("s1", "t1")
    logs.get_logger("tests").info("hello", size=3)
    logs.bind_request(object())  # the next call starts without ids
    logs.get_logger("tests").info("again")
    first, second = lines()
    assert (
        first.items()
        >= {"service": "a_service", "event": "hello", "session": session_hash("s1"), "turn_id": "t1"}.items()
    )
    assert first["size"] == 3 and "session" not in second


def test_the_line_after_a_flood_says_how_many_were_left_out(lines, monkeypatch):
    log = logs.get_logger("tests")
    for number in range(MOST + 5):
        log.warning("refused", number=number)
    assert [line["number"] for line in lines()] == list(range(MOST))
    later = time.monotonic() + SECONDS
    monkeypatch.setattr(logging.getLogger().handlers[0].filters[0], "_clock", lambda: later)
    log.warning("refused")
    assert lines()[-1]["left_out"] == 5 and "left_out" not in lines()[0]


def test_logs_of_libraries_have_the_same_form(lines):
    logging.getLogger("library").warning("from %s", "outside")
    (line,) = lines()
    assert line.items() >= {"service": "a_service", "event": "from outside", "level": "warning"}.items()
