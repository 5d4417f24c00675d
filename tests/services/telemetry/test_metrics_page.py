import socket
import time
import urllib.request

import pytest

from services.telemetry import metrics_page
from services.telemetry.metrics_page import MetricsPage


def read(page: MetricsPage, host: str = "127.0.0.1") -> str:
    return urllib.request.urlopen(f"http://{host}:{page.port}/metrics", timeout=5).read().decode()


@pytest.fixture
def pair() -> int:
    """A port that is free now, like the one after it."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            try:
                two.bind(("127.0.0.1", one.getsockname()[1] + 1))
            except (OSError, OverflowError):
                continue
            return one.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_the_page_is_served_on_its_host(host):
    page = MetricsPage(0, host)
    assert "parley_requests_total" in read(page, host) and "parley_first_audio_seconds" in read(page, host)
    page.close()


def test_replicas_of_one_node_have_pages_of_their_own_and_the_next_takes_the_port_that_is_free(pair, monkeypatch):
    monkeypatch.setattr(metrics_page, "RETRY_SECONDS", 0.02)
    pages = [MetricsPage(pair) for _ in range(3)]
    first, second, third = pages
    assert (first.port, second.port) == (pair, pair + 1)
    assert third.port not in (pair, pair + 1)
    assert all("parley_requests_total" in read(page) for page in pages)
    second.close()
    first.close()
    deadline = time.monotonic() + 30
    while third.port != pair:
        assert time.monotonic() < deadline, "it did not take the configured port"
        time.sleep(0.01)
    assert "parley_requests_total" in read(third)
    third.close()


def test_a_closed_page_takes_no_port(pair, monkeypatch):
    monkeypatch.setattr(metrics_page, "RETRY_SECONDS", 0.02)
    first, second = MetricsPage(pair), MetricsPage(pair)
    second.close()
    first.close()
    time.sleep(0.1)
    MetricsPage(pair).close()
