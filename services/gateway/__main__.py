"""The gateway as a process: `python -m services.gateway`. Settings come from the environment (see `settings.py`).

Prints one line of JSON with its ports once it listens. On SIGTERM or SIGINT it takes no new streams, lets running
turns end, and stops.
"""

from __future__ import annotations

import asyncio
import json
import signal

import grpc

from protos.parley.v1 import conversation_pb2, conversation_pb2_grpc
from services.common import health, logs
from services.gateway.service import ConversationService
from services.gateway.settings import GatewaySettings
from services.gateway.web import WebServer, build

log = logs.get_logger(__name__)


class Gateway:
    """Both servers of one gateway; for the process below and for tests."""

    def __init__(self, settings: GatewaySettings):
        self.settings = settings
        self.service = ConversationService(settings)
        largest = 2 * max(settings.max_image_bytes, settings.max_video_bytes)  # a little above is told in words
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", largest),
                ("grpc.max_send_message_length", largest),
                ("grpc.so_reuseport", 0),  # a port that another gateway has is taken, not shared
                ("grpc.keepalive_time_ms", 20_000),  # a client whose link is cut is noticed
                ("grpc.keepalive_timeout_ms", 10_000),
            ]
        )
        conversation_pb2_grpc.add_ConversationServicer_to_server(self.service, self._server)
        health.add_to_server(self._server)
        self._web = WebServer(build(self.service), settings.host, settings.http_port)
        self.port = 0
        self.http_port = 0

    async def start(self) -> None:
        """Raises `OSError` or `RuntimeError` where a port is taken."""
        self.port = self._server.add_insecure_port(f"{self.settings.host}:{self.settings.port}")
        await self._server.start()
        self._serving = asyncio.create_task(self._web.serve())
        while not self._web.started:
            if self._serving.done():
                raise OSError(f"the HTTP port {self.settings.http_port} is taken; set PARLEY_GATEWAY_HTTP_PORT")
            await asyncio.sleep(0.01)
        self.http_port = self._web.bound_port
        health.process_health.ready = True

    async def stop(self) -> None:
        self.service.stopping = True
        health.process_health.ready = False
        await self._server.stop(self.settings.drain_seconds)
        self._web.should_exit = True
        await self._serving
        await self.service.stop()


async def run() -> None:
    logs.configure("gateway")
    settings = GatewaySettings()
    gateway = Gateway(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await gateway.start()
    contract = conversation_pb2.DESCRIPTOR.services_by_name["Conversation"].full_name
    print(json.dumps({"grpc": gateway.port, "http": gateway.http_port, "contract": contract}), flush=True)
    log.info("listening", grpc=gateway.port, http=gateway.http_port)
    await stopping.wait()
    log.info("stopping")
    await gateway.stop()


if __name__ == "__main__":
    asyncio.run(run())
