"""A TCP proxy whose connections a test can cut, as a network does: without a goodbye.

With a certificate it is the TLS end of a server that has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

BLOCK = 1 << 16  # bytes


class CuttingProxy:
    """`address` (host:port) leads to the server; opening `cut_url` (HTTP) cuts what is connected."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None):
        self._host, self._port, self._tls = host, port, tls
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> CuttingProxy:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0, ssl=self._tls)
        self._control = await asyncio.start_server(self._take_order, "127.0.0.1", 0)
        self.address = f"localhost:{port_of(self._server)}"
        self.cut_url = f"http://127.0.0.1:{port_of(self._control)}"
        return self

    async def __aexit__(self, *_) -> None:
        self._server.close()
        self._control.close()
        self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            onward_reader, onward_writer = await asyncio.open_connection(self._host, self._port)
            both = {writer, onward_writer}
            self._writers |= both
            try:
                await asyncio.gather(copy(reader, onward_writer), copy(onward_reader, writer))
            finally:
                self._writers -= both
                onward_writer.close()
        writer.close()

    async def _take_order(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.cut()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(BLOCK):
        writer.write(data)
        await writer.drain()
    writer.close()


def port_of(server: asyncio.Server) -> int:
    return server.sockets[0].getsockname()[1]
