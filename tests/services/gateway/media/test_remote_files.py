"""Files are fetched from public addresses only: what a name resolves to is checked, and nothing else connected to."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from services.gateway.media import remote_files
from services.gateway.media.remote_files import RemoteFiles, is_public
from services.rpc.errors import ServiceError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfile"


@contextlib.asynccontextmanager
async def server(answer: bytes):
    """→ (port, the requests that came)."""
    requests = []

    async def handle(reader, writer):
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    serving = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with serving:
        yield serving.sockets[0].getsockname()[1], requests


@pytest.fixture
def all_public(monkeypatch):
    monkeypatch.setattr(remote_files, "is_public", lambda address: True)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "::7f00:1",
        "::ffff:0:7f00:1",
        "fec0::1",
        "2002:7f00:1::",
        "2001:db8::1",
    ],
)
def test_addresses_of_this_network_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_others_are(address):
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:{port}/a", "not public"),
        ("http://localhost:{port}/a", "not public"),
        ("http://[::ffff:127.0.0.1]:{port}/a", "not public"),
        ("http://2130706433:{port}/a", "not public"),
        ("http://0x7f.1:{port}/a", "not public|cannot be read|not known"),
        ("http://name.invalid/a", "not known"),
        ("http://[/", "cannot be read|not known"),
        ("http://a:port/", "cannot be read"),
        ("http:///a", "not known|not public|cannot be"),
    ],
)
async def test_what_is_refused_is_not_connected_to(url, message):
    async with server(ANSWER) as (port, requests):
        with pytest.raises(ServiceError, match=message):
            await RemoteFiles(1000).fetch(url.format(port=port))
    assert not requests


async def test_one_address_that_is_not_public_is_enough(monkeypatch):
    async def resolve(self, host, port, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    with pytest.raises(ServiceError, match="not public"):
        await RemoteFiles(1000).fetch("http://two.example/a")


async def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch, all_public):
    """A name that means another address a moment later changes nothing: it is asked for once."""
    asked = []

    async def resolve(self, host, port, **kwargs):
        asked.append(host)
        ip = "127.0.0.1" if host in ("name.example", "127.0.0.1") else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    async with server(ANSWER) as (port, requests):
        assert await RemoteFiles(1000).fetch(f"http://name.example:{port}/a?b=c") == b"file"
    assert asked.count("name.example") == 1
    assert requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\n") and f"Host: name.example:{port}".encode() in requests[0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n", "status 302; redirects"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + bytes(2000), "limit of 1000 bytes"),
        (b"nonsense\r\n\r\n", "cannot be fetched"),
        (b"", "cannot be fetched"),
    ],
)
async def test_what_cannot_be_had_is_said(all_public, answer, message):
    async with server(answer) as (port, _):
        with pytest.raises(ServiceError, match=message):
            await RemoteFiles(1000).fetch(f"http://127.0.0.1:{port}/")


async def test_a_server_that_does_not_answer_is_given_up(all_public, monkeypatch):
    monkeypatch.setattr(remote_files, "TIMEOUT_SECONDS", 0.2)
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(5), "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(ServiceError, match=r"within 0\.2 s"):
            await RemoteFiles(1000).fetch(f"http://127.0.0.1:{port}/")
