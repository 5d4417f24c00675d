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


def png(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
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


def test_pictures_of_other_modes_become_rgb() -> None:
    for mode in ("RGBA", "P", "L", "1", "LA"):
        assert read_image(png(Image.new(mode, (8, 6)))).mode == "RGB"


@pytest.mark.parametrize(
    ("mode", "clear", "options"),
    [
        ("RGBA", (200, 0, 0, 0), {}),
        ("LA", (90, 0), {}),
        ("P", 0, {"transparency": 0}),
        ("L", 3, {"transparency": 3}),
        ("RGB", (1, 2, 3), {"transparency": (1, 2, 3)}),
        ("I;16", 770, {"transparency": 770}),
    ],
)
def test_what_is_transparent_is_white(mode: str, clear, options: dict) -> None:
    assert read_image(png(Image.new(mode, (8, 6), clear), **options)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_what_is_half_transparent_is_mixed_with_white(format: str) -> None:
    picture = png(Image.new("RGBA", (8, 6), (255, 0, 0, 51)), format, lossless=True)
    assert read_image(picture).getpixel((0, 0)) == (255, 204, 204)


def test_a_transparent_picture_that_is_given_opened_is_on_white_too() -> None:
    clear, white = Image.new("RGBA", (9, 9), (255, 0, 0, 0)), Image.new("L", (9, 9), 255)
    assert np.array_equal(tile(clear, NANO), tile(white, NANO))
    assert np.array_equal(frames_to_pixels([clear], NANO), frames_to_pixels([white], NANO))


def test_16_bit_grey_has_the_levels_of_8_bit_grey() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = read_image(png(Image.fromarray(grey.astype(np.uint16) * 257)))
    assert np.array_equal(np.asarray(picture), np.stack([grey] * 3, axis=-1))
    near = Image.fromarray(np.array([[128, 129, 65406, 65407]], np.uint16))  # of half a level, and of one
    assert np.asarray(read_image(png(near)))[0, :, 0].tolist() == [0, 1, 254, 255]


def test_of_a_16_bit_picture_one_grey_is_transparent() -> None:
    grey = np.array([[770, 771, 769]], np.uint16)  # all three are 3 in 8 bits
    assert np.asarray(read_image(png(Image.fromarray(grey), transparency=770)))[0, :, 0].tolist() == [255, 3, 3]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(orientation: int, format: str) -> None:
    """The picture is black but for one white corner, which the camera's position has moved."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.new("L", (32, 16))
    stored.paste(255, (0, 0, 8, 8))  # row 0, column 0
    picture = read_image(png(stored.convert("RGB"), format, exif=exif))
    white = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left"}  # TIFF 6.0, page 36
    white |= {5: "top left", 6: "top right", 7: "bottom right", 8: "bottom left"}
    assert picture.size == ((32, 16) if orientation < 5 else (16, 32))
    rows, columns = {"top": 4, "bottom": picture.height - 4}, {"left": 4, "right": picture.width - 4}
    corners = {f"{row} {column}": (columns[column], rows[row]) for row in rows for column in columns}
    bright = [name for name, at in corners.items() if picture.getpixel(at)[0] > 128]
    assert bright == [white[orientation]]


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_of_a_picture_that_moves_the_first_frame_is_read(format: str) -> None:
    first, second = Image.new("RGB", (8, 6), (0, 0, 255)), Image.new("RGB", (8, 6), (255, 0, 0))
    picture = read_image(png(first, format, save_all=True, append_images=[second], duration=100))
    assert picture.getpixel((4, 3))[2] > 200 > picture.getpixel((4, 3))[0]


@pytest.mark.parametrize("format", ["BMP", "PPM", "TIFF", "ICO"])
def test_other_kinds_are_refused(format: str) -> None:
    with pytest.raises(ValueError, match="not a picture; known kinds: PNG, JPEG, WEBP, GIF"):
        read_image(png(Image.new("RGB", (32, 32)), format))


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
