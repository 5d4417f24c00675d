"""`parley status`: what it says of health, and where nothing runs."""

import http.server
import threading

import pytest

from cli.errors import CommandError
from cli.status import health, status


@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (200, b"{}", "ok"),
        (503, b'{"status": "not ready", "missing": ["redis", "llm_core"]}', "HTTP 503, missing: redis, llm_core"),
        (502, b"no backend", "HTTP 502, no backend"),
    ],
)
def test_health_says_what_is_missing(code, body, said):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert health(f"http://127.0.0.1:{server.server_port}/readyz") == said
        thread.join()
    assert "refused" in health(f"http://127.0.0.1:{server.server_port}/readyz")


def test_a_folder_where_nothing_runs_is_named_with_the_command_that_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError, match="nothing runs here; start it with `parley up`"):
        status()
