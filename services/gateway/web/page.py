"""Serves the page's files as they are: no build step, and nothing in them asks another host for anything."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"

# Kept, and asked for by its ETag each time: a new version shows at once. The policy is in `guards/security_headers`.
HEADERS = {"Cache-Control": "no-cache"}


def router() -> APIRouter:
    pages = APIRouter(include_in_schema=False)
    files = StaticFiles(directory=STATIC)

    async def serve(path: str, request: Request) -> Response:
        response = await files.get_response(path, request.scope)
        response.headers.update(HEADERS)
        return response

    @pages.api_route("/", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        return await serve("index.html", request)

    @pages.api_route("/static/{path:path}", methods=["GET", "HEAD"])
    async def static(path: str, request: Request) -> Response:
        return await serve(path, request)

    return pages
