"""The HTTP half of the OpenAI API: chat, speech, transcription and models."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer

from services.gateway.api.backend import Backend
from services.gateway.api.openai import models
from services.gateway.api.openai.audio import speech, transcriptions
from services.gateway.api.openai.chat import completions
from services.gateway.api.openai.media_urls import MediaUrls
from services.gateway.media.remote_files import RemoteFiles

# For the OpenAPI document: `guards.key_guard` has asked for the key before.
KEY = HTTPBearer(auto_error=False, description="An API key, where the gateway asks for one")


def router(backend: Backend) -> APIRouter:
    api, media = backend.settings.api, backend.settings.media
    routes = APIRouter(prefix="/v1", dependencies=[Depends(KEY)])
    names = backend.models
    urls = MediaUrls(RemoteFiles(media.max_video_bytes) if api.remote_media else None)
    models.add_routes(routes, names)
    completions.add_routes(routes, backend, names, urls)
    speech.add_routes(routes, backend, names)
    transcriptions.add_routes(routes, backend, names)
    return routes
