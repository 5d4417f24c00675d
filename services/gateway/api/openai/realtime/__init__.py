"""The Realtime API: a conversation over a WebSocket."""

from __future__ import annotations

from fastapi import APIRouter

from services.gateway.api.backend import Backend


def router(backend: Backend) -> APIRouter:
    return APIRouter()
