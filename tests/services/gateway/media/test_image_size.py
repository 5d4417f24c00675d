"""The size in a header is the one that Pillow finds, and no file makes it take long or fail."""

from __future__ import annotations

import io
import random

import pytest
from PIL import Image

from services.gateway.media import image_size
from services.gateway.media.image_size import image_size as size_of

KINDS = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True, "exif": b"Exif\0\0" + bytes(60_000), "icc_profile": bytes(70_000)}),
    "webp": ("WEBP", {}),
    "lossless": ("WEBP", {"lossless": True}),
    "animated": ("WEBP", {"save_all": True, "append_images": [Image.new("RGB", (321, 123), "red")]}),
    "gif": ("GIF", {}),
    "with exif": ("WEBP", {"exif": b"Exif\0\0II*\0"}),
}


def file(kind: str, size: tuple[int, int] = (321, 123)) -> bytes:
    format, options = KINDS[kind]
    data = io.BytesIO()
    Image.new("RGB", size).save(data, format, **options)
    return data.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(321, 123), (1, 1), (1, 3000)])
def test_the_size_is_the_one_that_pillow_finds(kind, size):
    if kind == "animated" and size != (321, 123):
        pytest.skip("its frames have one size")
    assert size_of(file(kind, size)) == size


@pytest.mark.parametrize("format", ["BMP", "PPM"])
def test_other_kinds_are_left_to_the_encoder(format):
    data = io.BytesIO()
    Image.new("RGB", (32, 12)).save(data, format)
    assert size_of(data.getvalue()) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_file_has_some_size_or_none(kind):
    shuffled, whole = random.Random(0), file(kind)
    for end in range(64):
        size_of(whole[:end])
    for _ in range(2000):
        broken = bytearray(whole)
        for _ in range(shuffled.randint(1, 5)):
            broken[shuffled.randrange(min(len(broken), 100))] = shuffled.randrange(256)
        found = size_of(bytes(broken))
        assert found is None or all(isinstance(side, int) and side >= 0 for side in found)


def test_a_jpeg_of_empty_segments_is_given_up():
    most = image_size.MAX_SEGMENTS
    size = file("jpeg")[2:]
    assert size_of(b"\xff\xd8" + b"\xff\xe0\x00\x02" * (most - 10) + size) == (321, 123)
    assert size_of(b"\xff\xd8" + b"\xff\xe0\x00\x02" * most + size) is None
    assert size_of(b"\xff\xd8" + b"\xff" * 1_000_000 + size) is None
