"""The Realtime API: a conversation over a WebSocket."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket

from services.gateway.api.backend import Backend
from services.gateway.api.openai.realtime.connection import serve


def router(backend: Backend) -> APIRouter:
    api = APIRouter()

    @api.websocket("/v1/realtime")
    async def realtime(websocket: WebSocket) -> None:
        await serve(websocket, backend)

    return api
