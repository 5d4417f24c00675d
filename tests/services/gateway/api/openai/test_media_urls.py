"""Data URLs of requests: their bytes, and what is no such URL."""

from __future__ import annotations

import base64
import os

import pytest

from services.gateway.api.openai.errors import ApiError
from services.gateway.api.openai.media_urls import PIECE, MediaUrls, read_base64


async def test_a_data_url_is_its_bytes_whatever_its_length():
    for length in (0, 1, 2, 3, PIECE - 1, PIECE, PIECE * 3 // 4 * 2 + 1):
        data = os.urandom(length)
        url = "data:image/png;name=a.png;base64," + base64.b64encode(data).decode()
        assert await MediaUrls(None).read(url, "image", "url") == data


@pytest.mark.parametrize("content", ["a", "ab=c", "ü", "a\nb=", "=" * 5, "A" * PIECE + "!"])
def test_what_is_no_base64_is_refused(content):
    with pytest.raises(ApiError, match="p is not valid base64") as caught:
        read_base64(content, "p")
    assert caught.value.param == "p"


class Remote:
    async def fetch(self, url: str) -> bytes:
        return url.encode()


async def test_remote_urls_are_fetched_only_where_that_is_allowed():
    url = "https://example.com/a.png"
    assert await MediaUrls(Remote()).read(url, "image", "p") == url.encode()
    with pytest.raises(ApiError, match="PARLEY_GATEWAY_API_REMOTE_MEDIA") as caught:
        await MediaUrls(None).read(url, "image", "p")
    assert caught.value.code == "unsupported_value"
    for other in ("ftp://example.com/a", "/etc/passwd", "", "file:///etc/passwd"):
        with pytest.raises(ApiError, match="no URL"):
            await MediaUrls(Remote()).read(other, "image", "p")
