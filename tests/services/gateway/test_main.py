"""A gateway listens, with TLS where it has a certificate, or says in one line why it cannot."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest

from cli.client import Client, Question
from protos.parley.v1.conversation_pb2 import SessionConfig
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


async def test_a_gateway_that_lets_nobody_in_says_so(make_gateway, redis_url, capfd):
    url = f"{redis_url}?db=13"
    for keys, warned in (("auto", False), ("required", True), ("off", False)):
        await make_gateway(store__redis_url=url, access__keys=keys)
        assert ("there is none: `parley keys create NAME`" in capfd.readouterr().out) == warned


async def test_it_listens_on_an_address_of_ipv6(make_gateway):
    gateway = await make_gateway(server__host="::1")
    async with httpx.AsyncClient(base_url=f"http://[::1]:{gateway.http_port}") as http:
        assert (await http.get("/readyz", headers={"origin": f"http://[::1]:{gateway.http_port}"})).status_code == 200
    async with Client(f"[::1]:{gateway.port}") as client:
        await client.open(SessionConfig(text_only=True))
        assert (await client.ask(Question(text="hello"))).text


async def test_with_a_certificate_every_way_in_has_tls(make_gateway, certificate):
    gateway = await make_gateway(server__tls_certificate=str(certificate.file), server__tls_key=str(certificate.key))
    trusted = ssl.create_default_context(cafile=certificate.file)
    async with httpx.AsyncClient(base_url=f"https://localhost:{gateway.http_port}", verify=trusted) as http:
        assert (await http.get("/readyz")).status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(f"http://localhost:{gateway.http_port}/healthz")
    async with Client(f"localhost:{gateway.port}", certificate=certificate.file.read_bytes()) as client:
        await client.open(SessionConfig())
        assert (await client.ask(Question(text="hello"))).text
    async with Client(f"localhost:{gateway.port}") as plain:
        with pytest.raises(grpc.RpcError):
            await plain.open(SessionConfig())


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HOST": "0.0.0.0"}, "without TLS"),
        ({"TLS_CERTIFICATE": "/nowhere.pem", "TLS_KEY": "/nowhere.pem"}, "No such file"),
    ],
)
def test_a_gateway_that_must_not_start_says_why_in_one_line(variables, said):
    named = {f"PARLEY_GATEWAY_SERVER_{name}": value for name, value in variables.items()}
    done = subprocess.run(
        [sys.executable, "-m", "services.gateway"],
        cwd=Path(__file__).parents[3],
        env={**os.environ, **named, "PARLEY_LOG_LEVEL": "CRITICAL"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and said in done.stderr and len(done.stderr.splitlines()) == 1
