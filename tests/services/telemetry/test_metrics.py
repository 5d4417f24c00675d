import urllib.request

import pytest

from services.telemetry import metrics


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_the_page_is_served_on_its_host_and_a_second_replica_finds_a_port(host):
    first = metrics.serve(0, host)
    second = metrics.serve(first, host)
    assert second != first
    page = urllib.request.urlopen(f"http://{host}:{second}/metrics", timeout=5).read().decode()
    assert "parley_requests_total" in page and "parley_first_audio_seconds" in page
