"""What is around every request, over real sockets: origins, keys, sizes, headers that protect the page."""

from __future__ import annotations

import asyncio
import gzip
import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from services.gateway.access.keys import KeyLimits, new_key
from services.gateway.api.guards import body_guard
from services.gateway.api.http import MAX_FRAME_BYTES

DATABASE = 8


@pytest.fixture
async def keyed(make_gateway, redis_url):
    """Starts gateways over a database of their own, which holds keys: `gateway, key = await keyed(requests=2)`."""
    gateways = []

    async def make(limits: KeyLimits | None = None, **settings):
        gateway = await make_gateway(store__redis_url=f"{redis_url}?db={DATABASE}", access__cache_seconds=0, **settings)
        gateways.append(gateway)
        return gateway, await gateway.backend.access.keys.create("test", limits or KeyLimits())

    yield make
    for gateway in gateways:
        await gateway.backend.access.usage._redis.flushdb()


def http(gateway, key: str = "", **headers: str) -> httpx.AsyncClient:
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http_port}", headers=headers)


def error_of(answer: httpx.Response) -> dict:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def test_the_api_asks_for_a_key_and_health_does_not(keyed):
    gateway, key = await keyed()
    async with http(gateway) as stranger, http(gateway, key) as client:
        assert (await stranger.get("/healthz")).status_code == 200
        answer = await stranger.get("/v1/openapi.json")
        assert (answer.status_code, error_of(answer)["code"]) == (401, "invalid_api_key")
        assert (await client.get("/v1/openapi.json")).status_code == 200
        assert error_of(await stranger.get("/v1/nowhere"))["code"] == "invalid_api_key"
        assert error_of(await client.get("/v1/nowhere"))["code"] == "not_found"


@pytest.mark.parametrize(
    "authorization",
    [
        *(
            "",
            "Bearer",
            "bearer x",
            "Basic dXNlcjpwYXNz",
            "sk-",
            "Bearer sk-é",
            "Bearer " + "a" * 9000,
            ", ,",
            "Bearer,",
        ),
        *("Bearer sk-0123456789abcdef-" + "_" * 43, "Bearer ek_0123456789abcdef_" + "_" * 43, "Bearer \t sk"),
    ],
)
async def test_a_malformed_authorization_header_is_a_401(keyed, authorization):
    gateway, _ = await keyed()
    async with http(gateway) as client:
        answer = await client.get("/v1/openapi.json", headers={"authorization": authorization.encode()})
        assert (answer.status_code, error_of(answer)["code"]) == (401, "invalid_api_key")
        assert authorization[-20:] not in answer.text or len(authorization) < 20


async def test_the_scheme_may_be_written_as_one_likes(keyed):
    gateway, key = await keyed()
    async with http(gateway) as client:
        for authorization in (f"bearer {key}", f"BEARER   {key}"):
            answer = await client.get("/v1/openapi.json", headers={"authorization": authorization})
            assert answer.status_code == 200


async def test_more_requests_than_a_key_may_make_are_a_429_that_says_when_to_come_back(keyed):
    gateway, key = await keyed(KeyLimits(requests=2))
    async with http(gateway, key) as client:
        answers = [await client.get("/v1/openapi.json") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert error_of(answers[2])["code"] == "rate_limit_exceeded"
        assert 25 <= int(answers[2].headers["retry-after"]) <= 30


async def test_a_thousand_wrong_keys_stop_nobody(keyed):
    gateway, key = await keyed()
    async with http(gateway) as stranger, http(gateway, key) as client:
        for number in range(1000):
            wrong = new_key(str(number), KeyLimits())[0]
            answer = await stranger.get("/v1/openapi.json", headers={"authorization": f"Bearer {wrong}"})
            assert answer.status_code == 401
        assert (await client.get("/v1/openapi.json")).status_code == 200


async def test_the_key_is_asked_for_before_the_body_is_read(keyed):
    gateway, _ = await keyed()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000000\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)  # none of the body has been sent
    assert head.startswith(b"HTTP/1.1 401 ")
    writer.close()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("", 200),
        ("http://127.0.0.1:{port}", 200),
        ("https://chat.example", 200),
        ("https://chat.example:444", 403),
        ("https://evil.example", 403),
        ("http://127.0.0.1:1", 403),
        ("null", 403),
        ("http://[", 403),
        ("file://", 403),
    ],
)
async def test_pages_of_other_origins_are_refused(make_gateway, origin, status):
    gateway = await make_gateway(access__origins="https://chat.example, http://localhost:3000/")
    headers = {"origin": origin.format(port=gateway.http_port)} if origin else {}
    async with http(gateway) as client:
        answer = await client.get("/healthz", headers=headers)
        assert answer.status_code == status
        allowed = answer.headers.get("access-control-allow-origin")
        assert allowed == ("https://chat.example" if origin == "https://chat.example" else None)
        if status == 403:
            assert error_of(answer)["code"] == "permission_denied"


async def test_a_page_that_gave_its_name_this_address_is_refused(make_gateway):
    gateway = await make_gateway()
    rebound = f"evil.example:{gateway.http_port}"
    async with http(gateway) as client:
        answer = await client.get("/healthz", headers={"host": rebound, "origin": f"http://{rebound}"})
        assert answer.status_code == 403
    protected = await make_gateway(access__keys="required")
    own = f"parley.example:{protected.http_port}"
    async with http(protected) as client:  # it has no key, so it gains nothing
        answer = await client.get("/healthz", headers={"host": own, "origin": f"http://{own}"})
        assert answer.status_code == 200


async def test_a_browser_is_told_what_an_allowed_page_may_send(keyed):
    gateway, _ = await keyed(access__origins="https://chat.example")
    preflight = {
        "origin": "https://chat.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-lang",
    }
    async with http(gateway) as client:
        answer = await client.options("/v1/chat/completions", headers=preflight)
        assert answer.status_code == 200 and "authorization" in answer.headers["access-control-allow-headers"]
        refused = await client.get("/v1/openapi.json", headers={"origin": "https://chat.example"})
        assert refused.status_code == 401  # which the page can read
        assert refused.headers["access-control-allow-origin"] == "https://chat.example"
        assert (await client.options("/v1/models", headers=preflight | {"origin": "https://no"})).status_code == 403


@pytest.mark.parametrize("known", [True, False], ids=["its length is known", "it comes in chunks"])
async def test_a_body_above_the_limit_is_refused_before_it_is_read(make_gateway, known):
    gateway = await make_gateway(api__max_body_bytes=200_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    writer.write(b"POST /v1/realtime/client_secrets HTTP/1.1\r\nhost: 127.0.0.1\r\n")
    writer.write(b"content-length: 300000000\r\n\r\n" if known else b"transfer-encoding: chunked\r\n\r\n")
    for _ in range(0 if known else 30):
        writer.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")  # 480 KB, and more would follow
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_the_head_of_a_request_is_bounded(make_gateway):
    gateway = await make_gateway()
    for endless in (b"x-a: " + b"y" * (1 << 20), b"x-a: y\r\n" * 100_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n" + endless)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)  # the gateway does not wait for its end
        assert head.startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_messages_of_a_websocket_are_bounded_and_not_compressed(make_gateway):
    gateway = await make_gateway()
    url = f"ws://127.0.0.1:{gateway.http_port}/v1/realtime?model=parley"
    async with connect(url, compression="deflate", max_size=None) as socket:
        assert not socket.protocol.extensions and "session.created" in await socket.recv()
        await socket.send("x" * MAX_FRAME_BYTES)  # no JSON, but read
        assert "invalid_json" in await socket.recv()
        with pytest.raises(ConnectionClosedError) as closed:
            await socket.send("x" * (MAX_FRAME_BYTES + 1))
            await socket.recv()
        assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "identity, gzip", "x"])
async def test_a_compressed_body_is_refused(make_gateway, encoding):
    gateway = await make_gateway()
    bomb = gzip.compress(bytes(1 << 20))
    async with http(gateway) as client:
        headers = {"content-encoding": encoding}
        answer = await client.post("/v1/realtime/client_secrets", content=bomb, headers=headers)
        assert (answer.status_code, error_of(answer)["code"]) == (415, "unsupported_content_encoding")


async def test_a_body_that_does_not_come_is_given_up(make_gateway, monkeypatch):
    monkeypatch.setattr(body_guard, "BODY_SECONDS", 0.2)
    gateway = await make_gateway()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    writer.write(
        b"POST /v1/realtime/client_secrets HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"content-type: application/json\r\ncontent-length: 9\r\n\r\n{"
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 408 ")
    writer.close()


@pytest.mark.parametrize("depth", [150, 250, 330, 600, 900, 5000, 100_000])
async def test_json_that_is_nested_too_deep_is_a_400(make_gateway, depth):
    gateway = await make_gateway()
    nested = '{"a":' * depth + "1" + "}" * depth
    session = f'{{"type":"realtime","tools":[{{"type":"function","name":"f","parameters":{nested}}}]}}'
    function = f'{{"type":"function","function":{{"name":"f","parameters":{nested}}}}}'
    chat = f'{{"model":"parley","messages":[{{"role":"user","content":"hi"}}],"tools":[{function}]}}'
    bodies = {"/v1/realtime/client_secrets": f'{{"session":{session}}}', "/v1/chat/completions": chat}
    async with http(gateway) as client:
        for path, body in bodies.items():
            answer = await client.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code in (400, 413) if depth > 200 else 200, path
            assert depth <= 200 or error_of(answer)["type"] == "invalid_request_error"
    async with connect(f"ws://127.0.0.1:{gateway.http_port}/v1/realtime?model=parley") as socket:
        assert "session.created" in await socket.recv()
        await socket.send(f'{{"type":"session.update","session":{session}}}')
        answer = json.loads(await socket.recv())
        assert answer["type"] == ("error" if depth > 200 else "session.updated"), answer
        await socket.send('{"type":"input_audio_buffer.clear"}')
        assert "input_audio_buffer.cleared" in await socket.recv()


@pytest.mark.parametrize("depth", [300, 5000, 100_000])
async def test_json_of_many_brackets_is_refused(make_gateway, depth):
    gateway = await make_gateway()
    body = b'{"session":{"type":"realtime","tools":' + b"[" * depth + b"]" * depth + b"}}"
    async with http(gateway) as client:
        headers = {"content-type": "application/json"}
        answer = await client.post("/v1/realtime/client_secrets", content=body, headers=headers)
        assert answer.status_code in (400, 413) and error_of(answer)["type"] == "invalid_request_error"


async def test_a_page_may_load_nothing_of_others_and_be_in_no_frame(make_gateway):
    gateway = await make_gateway()
    async with http(gateway) as client:
        for path in ("/healthz", "/v1/nowhere"):
            headers = (await client.get(path)).headers
            assert "default-src 'self'" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
            assert "microphone=(self)" in headers["permissions-policy"] and "server" not in headers
