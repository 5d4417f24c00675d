"""The key of a WebSocket's handshake, and its refusal before the connection is upgraded.

try:
    credentials = await authenticate(websocket, access)
except Exception as error:
    await refuse(websocket, error)
    return
await websocket.accept(subprotocol=credentials.subprotocol)
"""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import WebSocket

from services.gateway.access.access import Access, Caller
from services.gateway.access.keys import bearer
from services.gateway.api.openai.errors import error_of, response_of

SUBPROTOCOL = "realtime"
KEY_PREFIX = "openai-insecure-api-key."  # a browser can send no header, but a subprotocol


@dataclass(frozen=True)
class Credentials:
    caller: Caller
    subprotocol: str | None  # to select: a browser hangs up where it offered some and none is


async def authenticate(websocket: WebSocket, access: Access) -> Credentials:
    """Counts as a request. Raises `ServiceError` for a key that is missing, wrong, or has used up its requests.

    Pages of other origins have been refused before: `guards/origin_guard.py`.
    """
    offered: list[str] = websocket.scope.get("subprotocols", [])
    caller = await access.caller(key_of(websocket.headers.get("authorization", ""), offered))
    await access.request(caller)
    return Credentials(caller, SUBPROTOCOL if SUBPROTOCOL in offered else None)


def key_of(authorization: str, subprotocols: list[str]) -> str:
    """Of the header, else of the first subprotocol that carries one; empty where there is none."""
    carried = (name.removeprefix(KEY_PREFIX) for name in subprotocols if name.startswith(KEY_PREFIX))
    return bearer(authorization) or next(carried, "")


async def refuse(websocket: WebSocket, error: Exception) -> None:
    """An HTTP answer in OpenAI's form in place of the upgrade."""
    await websocket.send_denial_response(response_of(error_of(error)))
