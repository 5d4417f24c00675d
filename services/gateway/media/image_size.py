"""How large a picture is, from the header of its file: nothing is decoded, and little is read.

Own code, since a library's reading of a JPEG with a million empty segments takes seconds.
"""

from __future__ import annotations

MAX_SEGMENTS = 1000  # of a JPEG before its size

_JPEG_SIZES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # SOF markers
_JPEG_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment


def image_size(data: bytes) -> tuple[int, int] | None:
    """→ (width, height) in pixels of a PNG, JPEG, WebP or GIF file; None for others, and where the header is broken.

    Of a GIF, the frames may be larger than its header says: the vision encoder checks them.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return (_big(data, 16, 4), _big(data, 20, 4)) if len(data) >= 24 else None
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp_size(data)
    if data[:6] in (b"GIF87a", b"GIF89a") and len(data) >= 10:
        return _little(data, 6, 2), _little(data, 8, 2)
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    for _ in range(MAX_SEGMENTS):
        if at + 9 > len(data) or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker in _JPEG_SIZES:
            return _big(data, at + 7, 2), _big(data, at + 5, 2)
        if marker == 0xFF:  # a fill byte
            at += 1
        else:
            at += 2 if marker in _JPEG_ALONE else 2 + _big(data, at + 2, 2)
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
        case b"VP8L" if data[20] == 0x2F:
            bits = _little(data, 21, 4)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    return None


def _big(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "big")


def _little(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "little")
