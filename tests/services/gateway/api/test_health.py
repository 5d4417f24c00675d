"""The HTTP pages: alive, ready, metrics; and what is missing."""

from __future__ import annotations

import asyncio

import httpx


async def test_health_pages_tell_what_is_missing(make_gateway):
    gateway = await make_gateway()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http_port}") as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "missing": []})
        page = (await http.get("/metrics")).text
        assert "parley_turns_total" in page and 'parley_gateway_missing{part="speech_decoder"} 0.0' in page
        asked = await http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
        assert asked.headers["content-type"].startswith("application/openmetrics-text")
        assert asked.text.endswith("# EOF\n")
    lame = await make_gateway(upstream__speech_decoder="127.0.0.1:9")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{lame.http_port}") as http:
        page = await http.get("/readyz")
        assert (page.status_code, page.json()["missing"]) == (503, ["speech_decoder"])
        page = (await http.get("/metrics")).text
        assert 'parley_gateway_missing{part="speech_decoder"} 1.0' in page
        assert 'parley_gateway_missing{part="llm_core"} 0.0' in page


async def test_what_hangs_is_missing_before_long(make_gateway):
    async def hang(reader, writer):
        await reader.read()
        writer.close()

    dumb = await asyncio.start_server(hang, "127.0.0.1")  # accepts, and says nothing
    address = f"127.0.0.1:{dumb.sockets[0].getsockname()[1]}"
    hanging = ",".join([address] * 40)
    gateway = await make_gateway(
        upstream__vision_encoder=hanging,
        upstream__speech_encoder=hanging,
        store__redis_url=f"redis://{address}",
        upstream__probe_seconds=0.5,
    )
    async with asyncio.timeout(20):  # one after the other they would take 40
        assert await gateway.missing() == ["vision_encoder", "speech_encoder", "redis"]
    dumb.close()
