"""The page loses its connection to a real gateway in the middle of an answer, and goes on."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from steps import hear, now, start_talking

LEAD = 3.0  # seconds of silence before the question: the page has connected by then


class Line:
    """A TCP connection to a gateway that can be cut, and be laid to another gateway."""

    def __init__(self, port: int):
        self.port = port
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers |= {writer, there_writer}
        await asyncio.gather(self._copy(reader, there_writer), self._copy(there_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()


@pytest.mark.parametrize("other", [False, True], ids=["the same gateway", "another gateway"])
async def test_a_lost_connection_goes_on(make_gateway, open_page, write_wav, spoken_question, other):
    gateways = [await make_gateway(), await make_gateway()]
    async with Line(gateways[0].http_port) as line:
        page = await open_page(line.url, write_wav([LEAD, spoken_question, 60.0]))
        await start_talking(page)
        await hear(page, 0.2)
        line.port = gateways[other].http_port
        line.cut()
        await page.wait_for_selector("text=Connected again")
        await hear(page, 0.3, since=await now(page))
        await page.wait_for_selector(".assistant[data-status=done]", timeout=60_000)
        assert await page.locator(".assistant").count() == 1 and await page.locator(".problem").count() == 0
