"""Publishes the metrics of a process for Prometheus, at a port that Prometheus can be told beforehand.

Several replicas of a service may share a node: two because they are configured, or the old and the new one while a
promotion runs. The first has the configured port, the second the port after it, any other a free one that its log
names. A replica that does not have the configured port takes it as soon as it is free.
"""

from __future__ import annotations

import threading

from prometheus_client import start_http_server

from services.telemetry import logs

RETRY_SECONDS = 1.0  # between two attempts to take the configured port

log = logs.get_logger(__name__)


class MetricsPage:
    """The page `/metrics` of this process, in threads of its own, until `close`."""

    def __init__(self, port: int, host: str = "127.0.0.1"):
        """`port`: the configured one; 0: a free one."""
        self._wanted, self._host = port, host
        self._closed = threading.Event()
        self._server = self._start_first(port, port + 1, 0) if port else self._start(0)
        if port and self.port != port:
            threading.Thread(target=self._move, name="metrics-port", daemon=True).start()

    @property
    def port(self) -> int:
        """Where the page is now."""
        return self._server.server_port

    def close(self) -> None:
        self._closed.set()
        _stop(self._server)

    def _start_first(self, *ports: int):
        """At the first of the ports that is free."""
        *some, last = ports
        for port in some:
            try:
                return self._start(port)
            except OSError:  # another replica has it
                continue
        return self._start(last)

    def _start(self, port: int):
        return start_http_server(port, self._host)[0]

    def _move(self) -> None:
        """Tries until the configured port is this process's, or the page is closed."""
        while not self._closed.wait(RETRY_SECONDS):
            try:
                server = self._start(self._wanted)
            except OSError:
                continue
            _stop(self._server)  # one replica has one page, or its counts would be added up twice
            self._server = server
            log.info("metrics moved", metrics=f"{self._host}:{self.port}")
            return


def _stop(server) -> None:
    server.shutdown()
    server.server_close()
