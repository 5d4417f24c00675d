"""A gateway that cannot listen says so in one line."""

from __future__ import annotations

import socket

import pytest

from services.gateway.__main__ import Gateway
from services.gateway.settings import GatewaySettings


@pytest.mark.parametrize(("name", "which"), [("port", "gRPC"), ("http_port", "HTTP")])
async def test_a_taken_port_is_named(name, which):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        gateway = Gateway(GatewaySettings(server={"port": 0, "http_port": 0, name: taken}))
        with pytest.raises(OSError, match=f"{which} port {taken}"):
            await gateway.start()
        await gateway.backend.close()
