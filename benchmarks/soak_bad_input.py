"""Input that no client should send, over each wire, and whether it is refused in words.

Each function returns what was wrong with the answer, "" for a clear refusal.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Awaitable, Callable
from functools import partial

import grpc
import httpx
from websockets.asyncio.client import connect

from cli.client import Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling
from services.local.state import StackState

SECONDS = 30.0  # within which a refusal must come
SHORT = wire.SessionConfig(turn_detection=wire.TURN_DETECTION_MANUAL, text_only=True, sampling=Sampling(max_tokens=16))
REFUSED = ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "NOT_FOUND")


def noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(1, 2000))


async def http(state: StackState, rng: random.Random, body: Callable[[random.Random], bytes]) -> str:
    """A chat whose body is wrong."""
    async with httpx.AsyncClient(timeout=SECONDS) as client:
        url = f"http://{state.http}/v1/chat/completions"
        answer = await client.post(url, content=body(rng), headers={"Content-Type": "application/json"})
    clear = 400 <= answer.status_code < 500 and "message" in answer.json().get("error", {})
    return "" if clear else f"HTTP {answer.status_code}: {answer.text[:200]}"


def picture_of_noise(rng: random.Random) -> bytes:
    url = f"data:image/png;base64,{base64.b64encode(noise(rng)).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what is this?"}]
    return json.dumps({"model": "parley", "messages": [{"role": "user", "content": content}]}).encode()


async def realtime(state: StackState, rng: random.Random, message: Callable[[random.Random], str | bytes]) -> str:
    """A message on a WebSocket; the connection must go on."""
    async with connect(f"ws://{state.http}/v1/realtime?model=parley") as connection:
        await connection.recv()  # session.created
        await connection.send(message(rng))
        event = json.loads(await connection.recv())
        if event["type"] != "error":
            return f"answered with {event['type']}"
        await connection.send(json.dumps({"type": "session.update", "session": {"type": "realtime"}}))
        event = json.loads(await connection.recv())
        return "" if event["type"] == "session.updated" else f"then answered with {event['type']}"


def not_base64(rng: random.Random) -> str:
    return json.dumps({"type": "input_audio_buffer.append", "audio": noise(rng).decode("latin-1")})


async def picture(state: StackState, rng: random.Random) -> str:
    """A question whose picture is noise; the next one must be answered."""
    async with Client(state.gateway) as client:
        await client.open(SHORT)
        answer = await client.ask(Question(text="what is this?", images=[noise(rng)]))
        if answer.error is None or answer.error.code not in REFUSED:
            return f"a picture of noise: {answer.finish_reason} {answer.error}"
        after = await client.ask(Question(text="hello"))
        return "" if after.complete else f"the question after it: {after.finish_reason} {after.error}"


async def opening(state: StackState, rng: random.Random, event: dict[str, object]) -> str:
    """A stream that begins with something else, or with a session that there is not."""
    async with Client(state.gateway) as client:
        client.start()
        await client.send(**event)
        try:
            async for answer in client.events():
                return f"answered with {answer.WhichOneof('event')}"
        except grpc.RpcError as error:
            return "" if error.code().name in REFUSED else f"{error.code().name}: {error.details()}"
        return "the stream ended well"


async def bytes_on_port(state: StackState, rng: random.Random, address: Callable[[StackState], str]) -> str:
    """Noise in place of any protocol: the connection may be closed, and no more is asked."""
    host, _, port = address(state).rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(noise(rng))
    await writer.drain()
    writer.close()
    return ""


BAD_INPUTS: tuple[Callable[[StackState, random.Random], Awaitable[str]], ...] = (
    partial(http, body=noise),
    partial(http, body=picture_of_noise),
    partial(realtime, message=lambda rng: noise(rng).decode("latin-1")),
    partial(realtime, message=noise),
    partial(realtime, message=not_base64),
    picture,
    partial(opening, event={"text": "hello"}),
    partial(opening, event={"open": wire.OpenSession(session_id="0" * 32)}),
    partial(bytes_on_port, address=lambda state: state.http),
    partial(bytes_on_port, address=lambda state: state.gateway),
)


async def send_one(state: StackState, rng: random.Random, number: int) -> str:
    """Bad input `number`, of all kinds in turn. → what was wrong with the answer."""
    kind = BAD_INPUTS[number % len(BAD_INPUTS)]
    name = getattr(kind, "func", kind).__name__
    try:
        async with asyncio.timeout(SECONDS):
            wrong = await kind(state, rng)
    except TimeoutError:
        wrong = f"no answer in {SECONDS:g} s"
    except (OSError, grpc.RpcError, httpx.HTTPError, ValueError) as error:
        wrong = f"{type(error).__name__}: {error}"
    return wrong and f"{name}: {wrong}"
