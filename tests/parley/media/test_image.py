"""Pictures: tiling, normalising, the pixel limit, what is no picture."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from parley.config import preset
from parley.media.image import frames_to_pixels, read_image, tile, tile_grid

FULL = preset("vita-7b").vision
NANO = preset("nano").vision


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("width", "height", "tokens"), [(448, 448, 256), (896, 448, 768), (500, 2000, 1280), (1920, 1080, 2304)]
)
def test_a_picture_costs_the_published_number_of_tokens(width: int, height: int, tokens: int) -> None:
    tiles = tile(Image.new("RGB", (width, height)), FULL)
    assert tiles.shape[1:] == (3, 448, 448)
    assert len(tiles) * 256 == tokens


def test_tiles_go_row_by_row_and_the_thumbnail_is_last() -> None:
    picture = Image.new("RGB", (896, 448), "black")
    picture.paste("white", (448, 0, 896, 448))
    config = FULL.model_copy(update={"image_mean": (0.0, 0.0, 0.0), "image_std": (1.0, 1.0, 1.0)})
    left, right, thumbnail = tile(picture, config)
    assert left[:, :, :400].max() == 0 and right[:, :, 48:].min() == 1
    assert thumbnail[:, :, :200].max() == 0 and thumbnail[:, :, 248:].min() == 1


def test_no_more_tiles_than_allowed_and_one_means_never() -> None:
    for width, height in [(1, 5000), (5000, 1), (3000, 2999), (1234, 777)]:
        columns, rows = tile_grid(width, height, FULL)
        assert columns * rows <= FULL.max_tiles
        assert tile(Image.new("RGB", (width, height)), NANO).shape == (1, 3, 96, 96)


def test_normalisation_uses_the_config() -> None:
    pixels = tile(Image.new("RGB", (96, 96), (255, 0, 128)), NANO)[0, :, 0, 0]
    assert pixels.tolist() == pytest.approx([1.0, -1.0, 128 / 127.5 - 1], abs=1e-6)


def test_transparent_and_palette_pictures_become_rgb() -> None:
    for mode in ("RGBA", "P", "L", "1", "LA"):
        assert read_image(png(Image.new(mode, (8, 6)))).mode == "RGB"


def test_a_rotated_photograph_is_turned_upright() -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    Image.new("RGB", (40, 20)).save(buffer, "JPEG", exif=exif)
    assert read_image(buffer.getvalue()).size == (20, 40)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + bytes(50)])
def test_what_is_not_a_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a picture"):
        read_image(data)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.png: No such file"):
        read_image(tmp_path / "nothing.png")


def test_a_truncated_picture_is_refused() -> None:
    data = png(Image.effect_noise((200, 200), 50))
    with pytest.raises(ValueError, match="damaged"):
        read_image(data[: len(data) // 2])


@pytest.mark.parametrize("side", [9_000, 20_000])
def test_a_huge_picture_is_refused_by_its_header_alone(side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    # There is no picture data at all: had it been decoded, the complaint would be another.
    with pytest.raises(ValueError, match="too large"):
        read_image(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b""))


def test_frames_are_never_tiled() -> None:
    pixels = frames_to_pixels([Image.new("RGB", (900, 100))] * 3, FULL)
    assert pixels.shape == (3, 3, 448, 448) and pixels.dtype == np.float32
