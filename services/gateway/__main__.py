"""The gateway as a process: `python -m services.gateway`. Settings come from the environment (see `settings.py`).

Prints one line of JSON with its ports once it listens. On SIGTERM or SIGINT it takes no new streams, lets running
turns end, and stops.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from pathlib import Path

import grpc
import uvloop

from protos.parley.v1 import conversation_pb2, conversation_pb2_grpc
from services.gateway.access import exposure
from services.gateway.api.backend import Backend
from services.gateway.api.grpc.servicer import ConversationService
from services.gateway.api.http import MAX_UNSENT_BYTES, WebServer, build
from services.gateway.settings import GatewaySettings
from services.rpc import contracts, health
from services.rpc.server import freeze_loaded_objects
from services.telemetry import event_loop, logs, tracing

log = logs.get_logger(__name__)

MESSAGE_MARGIN = 1 << 20  # bytes of a message beside its largest file


class Gateway:
    """Both servers of one gateway; for the process below and for tests."""

    def __init__(self, settings: GatewaySettings):
        self._settings = settings.server
        self.backend = Backend(settings)
        self.service = ConversationService(self.backend, settings.server)
        exposure.check(settings.server, settings.access)
        # A file that is a little too large is refused in words. A message is not read before the key has been checked.
        largest = max(settings.media.max_image_bytes, settings.media.max_video_bytes) + MESSAGE_MARGIN
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", largest),
                ("grpc.max_send_message_length", largest),
                ("grpc.so_reuseport", 0),  # a port that another gateway has is taken, not shared
                ("grpc.keepalive_time_ms", 20_000),  # a client whose link is cut is noticed
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.ping_timeout_ms", 10_000),  # a minute by default, and nothing shorter has an effect
                ("grpc.http2.min_ping_interval_without_data_ms", 500),  # a client may notice that this process hangs
            ]
        )
        contracts.add_to_server(conversation_pb2_grpc.add_ConversationServicer_to_server, self.service, self._server)
        health.add_to_server(self._server)
        self._web = WebServer(build(self.backend, self.missing), settings.server)
        self.port = 0
        self.http_port = 0

    async def missing(self) -> list[str]:
        """What keeps this gateway from serving a turn."""
        return ["stopping"] if self.backend.stopping else await self.backend.missing()

    async def start(self) -> None:
        """Raises `OSError` where it cannot listen."""
        host, port, http_port = self._settings.host, self._settings.port, self._settings.http_port
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            http = socket.create_server((host, http_port), family=family)
            http.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a small message waits 40 ms for an ACK
            # What a slow link has not taken waits here, where a cancelled answer is dropped, and not in the kernel.
            http.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)
        except OSError as error:
            raise OSError(f"cannot listen on {host}, HTTP port {http_port}: {error.strerror}") from None
        try:
            self.port = self._add_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError:
            http.close()
            raise OSError(f"cannot listen on {host}, gRPC port {port}: taken, or no address of this machine") from None
        await self._server.start()
        self.http_port = http.getsockname()[1]
        self._serving = asyncio.create_task(self._web.serve(sockets=[http]))
        while not self._web.started and not self._serving.done():
            await asyncio.sleep(0.01)
        self._watching = event_loop.watch("gateway")
        await self.backend.store.check_policy()
        await self.backend.access.warn_without_keys()
        await self.backend.start()
        health.process_health.ready = True

    def _add_port(self, address: str) -> int:
        if not self._settings.tls_certificate:
            return self._server.add_insecure_port(address)
        pair = Path(self._settings.tls_key).read_bytes(), Path(self._settings.tls_certificate).read_bytes()
        return self._server.add_secure_port(address, grpc.ssl_server_credentials([pair]))

    async def stop(self) -> None:
        self.backend.stopping = True
        health.process_health.ready = False
        until = time.monotonic() + self._settings.drain_seconds
        await self._server.stop(self._settings.drain_seconds)
        while self.backend.busy and time.monotonic() < until:
            await asyncio.sleep(0.05)
        self._watching.cancel()
        self._web.should_exit = True
        await self._serving
        await self.backend.close()


async def run() -> None:
    logs.configure("gateway")
    tracing.configure("gateway")
    try:
        gateway = Gateway(GatewaySettings())
    except ValueError as error:
        log.error("cannot start", error=str(error))
        sys.exit(str(error))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await gateway.start()
    except OSError as error:
        await gateway.backend.close()
        log.error("cannot start", error=str(error))
        sys.exit(f"{error}; PARLEY_GATEWAY_SERVER_PORT and PARLEY_GATEWAY_SERVER_HTTP_PORT choose others")
    freeze_loaded_objects()
    contract = conversation_pb2.DESCRIPTOR.services_by_name["Conversation"].full_name
    print(json.dumps({"grpc": gateway.port, "http": gateway.http_port, "contract": contract}), flush=True)
    log.info("listening", grpc=gateway.port, http=gateway.http_port)
    await stopping.wait()
    log.info("stopping")
    await gateway.stop()
    await asyncio.to_thread(tracing.shutdown)


if __name__ == "__main__":
    uvloop.run(run())  # hundreds of WebSockets cost a sixth less than with asyncio's own loop
