"""Fetches a file from a public address, where the settings allow it; never one of this network.

Notable points:
- The name is resolved once, every address it has must be public, and the connection goes to an address that was
  checked: a name that changes its address meanwhile changes nothing.
- Redirects are refused, and proxies of the environment are not used. Size and time are bounded.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import grpc
import httpx

from services.rpc.errors import ServiceError
from services.rpc.limits import too_much

TIMEOUT_SECONDS = 10.0  # in all
PORTS = {"http": 80, "https": 443}


class RemoteFiles:
    def __init__(self, max_bytes: int):
        self._max_bytes = max_bytes

    async def fetch(self, url: str) -> bytes:
        """Raises `ServiceError` for what cannot, or may not, be fetched."""
        try:
            target = httpx.URL(url)
            host = target.host  # decodes a name of other letters
        except (httpx.InvalidURL, UnicodeError) as error:
            raise _refuse(f"the URL cannot be read: {error}") from None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                address = await public_address(host, target.port or PORTS[target.scheme])
                return await self._get(target, address)
        except TimeoutError:
            raise _refuse(f"the URL did not answer within {TIMEOUT_SECONDS:g} s") from None
        except httpx.HTTPError as error:
            raise _refuse(f"the URL cannot be fetched: {type(error).__name__}") from None

    async def _get(self, target: httpx.URL, address: str) -> bytes:
        headers = {"Host": target.netloc.decode(), "Accept-Encoding": "identity"}
        extensions = {"sni_hostname": target.host}
        async with (
            httpx.AsyncClient(trust_env=False, follow_redirects=False) as client,
            client.stream("GET", target.copy_with(host=address), headers=headers, extensions=extensions) as answer,
        ):
            if answer.status_code != 200:
                raise _refuse(f"the URL answers with status {answer.status_code}; redirects are not followed")
            return await self._read(answer)

    async def _read(self, answer: httpx.Response) -> bytes:
        data = bytearray()
        async for piece in answer.aiter_raw():
            data += piece
            if len(data) > self._max_bytes:
                message = f"the file of the URL is above the limit of {self._max_bytes} bytes"
                raise too_much("gateway", "max_remote_bytes", message)
        return bytes(data)


async def public_address(host: str, port: int) -> str:
    """An address of the host, all of whose addresses are public. Raises `ServiceError`."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _refuse("the host of the URL is not known") from None
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not is_public(address):
            raise _refuse("the host of the URL has an address that is not public")
    return addresses[0]


def is_public(address: str) -> bool:
    """Not of a private, local, shared or reserved network; also as IPv4 within IPv6.

    All public IPv6 is in 2000::/3; elsewhere are forms that a network of its own may translate to its IPv4.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo and parsed.teredo[1])
        if inner:
            parsed = inner
        elif parsed in ipaddress.ip_network("64:ff9b::/96"):
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        elif parsed not in ipaddress.ip_network("2000::/3"):
            return False
    return parsed.is_global and not parsed.is_multicast


def _refuse(message: str) -> ServiceError:
    return ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)
