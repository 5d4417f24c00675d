"""Pictures and videos that a request names by URL: `data:` URLs, and others where the settings allow them."""

from __future__ import annotations

import asyncio
import base64
import binascii

from services.gateway.api.openai.errors import ApiError
from services.gateway.media.remote_files import RemoteFiles

PIECE = 1 << 20  # characters, a multiple of 4


class MediaUrls:
    def __init__(self, remote: RemoteFiles | None):
        """`remote`: None where only `data:` URLs are read."""
        self._remote = remote

    async def read(self, url: str, kind: str, param: str) -> bytes:
        """The file. `kind`: image or video. Raises `ApiError` that names `param`."""
        scheme = url.partition(":")[0].lower()
        if scheme == "data":
            return await asyncio.to_thread(read_data_url, url, kind, param)
        if scheme not in ("http", "https"):
            raise ApiError(f"{param} is no URL of an {kind}; send data:{kind}/…;base64,…", "invalid_value", param)
        if self._remote is None:
            message = (
                f"{param} is a remote URL, and this gateway fetches none (PARLEY_GATEWAY_API_REMOTE_MEDIA allows it); "
                f"send the file as data:{kind}/…;base64,…"
            )
            raise ApiError(message, "unsupported_value", param)
        return await self._remote.fetch(url)


def read_data_url(url: str, kind: str, param: str) -> bytes:
    """Of `data:image/png;base64,…`. Raises `ApiError`."""
    head, comma, content = url.partition(",")
    media_type, *attributes = head[len("data:") :].split(";")
    if not comma or "base64" not in attributes:
        raise ApiError(f"{param} is no data URL in base64; send data:{kind}/…;base64,…", "invalid_value", param)
    if not media_type.lower().startswith(f"{kind}/"):
        raise ApiError(f"{param} has the type {media_type[:64]!r}; it must be {kind}/…", "invalid_value", param)
    return read_base64(content, param)


def read_base64(content: str, param: str) -> bytes:
    """Raises `ApiError` for what is no base64. Takes time: not for an event loop, which has its turn between pieces."""
    data = bytearray()
    try:
        for start in range(0, len(content), PIECE):
            data += base64.b64decode(content[start : start + PIECE], validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(f"{param} is not valid base64", "invalid_value", param) from None
    return bytes(data)
