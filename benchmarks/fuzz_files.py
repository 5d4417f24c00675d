"""Damaged pictures, videos and sounds: valid files of every kind that is read, cut, shuffled and overwritten."""

from __future__ import annotations

import functools
import io
import zlib
from random import Random

import av
import numpy as np
import soundfile
from PIL import Image

PNG_HEAD = 8  # bytes before the first chunk
SIDE = 32


def damaged(kind: str, random: Random) -> bytes:
    """`kind`: picture, video or sound. Some of them can still be read."""
    name, data = random.choice(list(samples(kind).items()))
    for _ in range(random.randint(1, 3)):
        data = random.choice(DAMAGES)(data, random) if data else data
    return with_checksums(data) if name.startswith("png") and random.random() < 0.5 else data


@functools.cache
def samples(kind: str) -> dict[str, bytes]:
    return {"picture": _pictures, "video": _videos, "sound": _sounds}[kind]()


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def _remove(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + data[at + random.randint(1, 40) :]


def _insert(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + random.randbytes(random.randint(1, 40)) + data[at:]


def _repeat(data: bytes, random: Random) -> bytes:
    at, length = random.randrange(len(data)), random.randint(1, 200)
    return data[: at + length] + data[at:]


def _overwrite(data: bytes, random: Random) -> bytes:
    """Single bytes, mostly of the header; extreme values are likely."""
    changed, reach = bytearray(data), random.choice((32, 200, len(data)))
    for _ in range(random.randint(1, 10)):
        changed[random.randrange(min(len(data), reach))] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))
    return bytes(changed)


def _fill(data: bytes, random: Random) -> bytes:
    """A few bytes in a row, as sizes and times are stored."""
    at, length = random.randrange(len(data)), random.choice((2, 4, 8))
    return data[:at] + bytes([random.choice((0, 127, 128, 255))]) * length + data[at + length :]


DAMAGES = (_cut, _remove, _insert, _repeat, _overwrite, _overwrite, _overwrite, _fill)


def with_checksums(png: bytes) -> bytes:
    """A damaged PNG whose checksums are right, so that a reader looks at what is damaged."""
    pieces, at = [png[:PNG_HEAD]], PNG_HEAD
    while at + 12 <= len(png):
        end = min(at + 8 + int.from_bytes(png[at : at + 4], "big"), len(png))
        body = png[at + 4 : end]
        pieces += [png[at : at + 4], body, zlib.crc32(body).to_bytes(4, "big")]
        at = end + 4
    return b"".join(pieces)


def _pictures() -> dict[str, bytes]:
    noise = np.random.default_rng(0)
    colour = Image.fromarray(noise.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    deep = Image.fromarray(noise.integers(0, 1 << 16, (SIDE, SIDE), dtype=np.uint16))
    turned, other = Image.Exif(), {"save_all": True, "append_images": [colour.rotate(90)]}
    turned[0x0112] = 6
    return {
        "png": _picture(colour, "PNG", exif=turned),
        "png, moving": _picture(colour, "PNG", **other),
        "png, palette": _picture(colour.quantize(16), "PNG", transparency=3),
        "png, transparent": _picture(colour.convert("RGBA"), "PNG"),
        "png, 16 bits": _picture(deep, "PNG", transparency=5),
        "jpeg": _picture(colour, "JPEG", exif=turned),
        "jpeg, progressive": _picture(colour, "JPEG", progressive=True),
        "jpeg, CMYK": _picture(colour.convert("CMYK"), "JPEG"),
        "webp": _picture(colour, "WEBP", exif=turned),
        "webp, lossless": _picture(colour.convert("RGBA"), "WEBP", lossless=True),
        "webp, moving": _picture(colour, "WEBP", **other),
        "gif, moving": _picture(colour, "GIF", **other),
    }


def _picture(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _videos() -> dict[str, bytes]:
    kinds = {"mp4": "mpeg4", "webm": "libvpx", "matroska": "mpeg4", "avi": "mpeg4", "mov": "mjpeg"}
    return {container: _video(container, codec) for container, codec in kinds.items()}


def _video(container: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=10)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if container in ("mp4", "mov"):
            stream.set_display_rotation(90)
        for number in range(10):
            pixels = np.full((SIDE, SIDE, 3), 20 * number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    return file.getvalue()


def _sounds() -> dict[str, bytes]:
    kinds = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")]
    kinds += [("OGG", "OPUS"), ("MP3", None)]
    return {f"{format} {subtype}": _sound(format, subtype) for format, subtype in kinds}


def _sound(format: str, subtype: str | None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, (4000, 2)), 16_000, format=format, subtype=subtype)
    return file.getvalue()
