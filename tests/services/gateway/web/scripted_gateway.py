"""A gateway that follows a script: the page, and a Realtime API that answers every question in the same words.

For what a real one does not do on demand: lose a session, fail, say that there was nothing to answer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator

import numpy as np
from fastapi import FastAPI, Header, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse

from services.gateway.api.guards.security_headers import SecurityHeaders
from services.gateway.api.http import WebServer
from services.gateway.settings import ServerSettings
from services.gateway.web import page

RATE = 24_000
WORDS = "There is a red circle at the top left. Beside it is a blue square."
LATENCY = {"first_audio": 0.132, "speech_encoder": 0.015, "first_token": 0.014, "first_clause": 0.03,
           "speech_decoder": 0.073, "vision_encoder": 0.02, "total": 0.9}  # fmt: skip


class ScriptedGateway:
    """`key`: the one that it asks for, if any. `seconds`: of each answer. `received`: all client events."""

    def __init__(self, key: str = "", seconds: float = 3.0):
        self.key, self.seconds = key, seconds
        self.received: list[dict] = []
        self.sockets: list[WebSocket] = []
        self.queries: list[dict[str, str]] = []  # of their URLs
        self.forgets_sessions = False
        self._numbers = itertools.count(1)
        self.app = FastAPI()
        self.app.add_middleware(SecurityHeaders)
        self.app.include_router(page.router())
        self.app.get("/v1/models")(self.models)
        self.app.websocket("/v1/realtime")(self.realtime)

    def sent(self, type: str) -> list[dict]:
        return [event for event in self.received if event["type"] == type]

    async def models(self, authorization: str = Header("")):
        if self.key and authorization != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "Incorrect API key provided"}}, 401)
        return {"object": "list", "data": [{"id": "parley", "object": "model", "created": 0, "owned_by": "parley"}]}

    async def realtime(self, socket: WebSocket) -> None:
        if self.key and f"openai-insecure-api-key.{self.key}" not in socket.scope["subprotocols"]:
            return await socket.close()
        await socket.accept(subprotocol="realtime")
        self.sockets.append(socket)
        asked = socket.query_params.get("parley_session_id", "")
        self.queries.append(dict(socket.query_params))
        goes_on = bool(asked) and not self.forgets_sessions
        await self.say(socket, "session.created", session={"id": asked if goes_on else f"sess_{self.number()}"})
        try:
            while True:
                event = json.loads(await socket.receive_text())
                self.received.append(event)
                if event["type"] == "response.create":
                    self.answering = asyncio.create_task(self.answer(socket))
                if event["type"] == "conversation.item.delete":
                    await self.say(socket, "conversation.item.deleted", item_id=event["item_id"])
        except WebSocketDisconnect:
            pass

    def number(self) -> int:
        return next(self._numbers)

    async def say(self, socket: WebSocket, type: str, **fields) -> None:
        await socket.send_text(json.dumps({"type": type, "event_id": f"event_{self.number()}", **fields}))

    async def ask(self, socket: WebSocket, words: str, state: str = "speech") -> None:
        """What a real gateway says of a spoken question."""
        item = f"item_{self.number()}"
        await self.say(socket, "input_audio_buffer.speech_started", item_id=item, audio_start_ms=0)
        for word in words.split():
            await asyncio.sleep(0.05)
            await self.say(socket, "conversation.item.input_audio_transcription.delta", item_id=item, delta=word + " ")
        await self.say(socket, "input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=1000)
        await self.say(socket, "input_audio_buffer.committed", item_id=item)
        transcript = {"item_id": item, "transcript": words, "content_index": 0}
        await self.say(socket, "conversation.item.input_audio_transcription.completed", **transcript)
        await self.say(socket, "parley.state", item_id=item, state=state, probabilities=[0.98, 0.01, 0.01])

    async def fail(self, socket: WebSocket, message: str) -> None:
        """An answer that fails before its first word."""
        response = {
            "id": f"resp_{self.number()}",
            "status": "failed",
            "status_details": {"error": {"message": message}},
        }
        await self.say(socket, "response.created", response=response)
        await self.say(socket, "response.done", response=response)

    async def answer(self, socket: WebSocket) -> None:
        response, item = f"resp_{self.number()}", f"item_{self.number()}"
        where = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        await self.say(socket, "response.created", response={"id": response, "status": "in_progress"})
        message = {"id": item, "type": "message", "role": "assistant", "content": []}
        await self.say(socket, "response.output_item.added", response_id=response, output_index=0, item=message)
        words = WORDS.split(" ")
        for i, word in enumerate(words):
            await self.say(socket, "response.output_audio_transcript.delta", delta=(" " if i else "") + word, **where)
            audio = base64.b64encode(tone(self.seconds / len(words))).decode()
            await self.say(socket, "response.output_audio.delta", delta=audio, **where)
            await asyncio.sleep(0.02)
        await self.say(socket, "response.output_audio.done", **where)
        await self.say(socket, "response.done", response={"id": response, "status": "completed"})
        await self.say(socket, "parley.turn", response_id=response, latency=LATENCY)


def tone(seconds: float) -> bytes:
    """16-bit samples of a soft tone."""
    return (3000 * np.sin(2 * np.pi * 220 * np.arange(int(seconds * RATE)) / RATE)).astype("<i2").tobytes()


@contextlib.asynccontextmanager
async def serving(gateway: ScriptedGateway) -> AsyncIterator[str]:
    """→ the page's address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = WebServer(gateway.app, ServerSettings())
    task = asyncio.create_task(server.serve(sockets=[listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server.should_exit = True
    await task
