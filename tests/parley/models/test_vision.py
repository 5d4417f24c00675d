"""Pictures and video: tiling, the pixel limit, frame sampling, the pixel shuffle."""

from __future__ import annotations

import io
import struct
import zlib

import av
import numpy as np
import pytest
import torch
from PIL import Image

from parley.config import preset
from parley.media.image import frames_to_pixels, read_image, tile, tile_grid
from parley.media.video import frame_count, read_video
from parley.models.vision import VisionAdapter, VisionEncoder, pixel_shuffle

FULL = preset("vita-7b").vision
NANO = preset("nano").vision


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def video(seconds: float, rate: int = 10, size: int = 64, container: str = "mp4") -> bytes:
    """Frame i is a grey of brightness proportional to its time, so that a frame tells when it was shown."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream("libvpx" if container == "webm" else "mpeg4", rate=rate)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        count = int(seconds * rate)
        for i in range(count):
            grey = int(250 * i / count)
            frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), grey, np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
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


@pytest.mark.parametrize(
    ("seconds", "frames"), [(0.1, 4), (3.9, 4), (4.0, 4), (5.5, 5), (10.0, 10), (16.0, 16), (300.0, 16)]
)
def test_frames_follow_the_length(seconds: float, frames: int) -> None:
    assert frame_count(seconds, FULL) == frames
    assert frame_count(seconds, FULL.model_copy(update={"max_frames": 4})) == 4


@pytest.mark.parametrize("container", ["mp4", "webm"])
@pytest.mark.parametrize(("seconds", "frames"), [(2.0, 4), (6.0, 6), (20.0, 16)])
def test_video_frames_are_evenly_spread(seconds: float, frames: int, container: str) -> None:
    picked = read_video(video(seconds, container=container), FULL)
    shown = [np.asarray(frame).mean() / 250 for frame in picked]
    assert len(picked) == frames
    assert shown == pytest.approx([(i + 0.5) / frames for i in range(frames)], abs=0.06)


def test_a_video_of_one_frame_shows_it_again() -> None:
    assert len(read_video(video(0.1), FULL)) == 4
    assert frames_to_pixels(read_video(video(0.1), FULL), NANO).shape == (4, 3, 96, 96)


def test_what_is_not_a_video_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read 5 bytes as a video"):
        read_video(b"hello", FULL)
    with pytest.raises(ValueError, match=r"64×64 is over 1,000 pixels"):
        read_video(video(0.5), FULL, max_pixels=1000)


def test_a_video_cut_short_shows_what_there_is_or_is_refused() -> None:
    data = video(6.0, container="webm")
    assert len(read_video(data[: len(data) // 2], FULL)) >= 3


def test_pixel_shuffle_joins_neighbours() -> None:
    # Patch (row, column) of a 4×4 grid carries its own number twice.
    patches = torch.arange(16.0).reshape(1, 16, 1).repeat(1, 1, 2)
    tokens = pixel_shuffle(patches, 2)
    assert tokens.shape == (1, 4, 8)
    assert tokens[0, 1].tolist() == [2, 2, 3, 3, 6, 6, 7, 7]
    assert tokens[0, 2].tolist() == [8, 8, 9, 9, 12, 12, 13, 13]


def test_encoder_and_adapter_give_the_promised_sizes() -> None:
    encoder, adapter = VisionEncoder(NANO).eval(), VisionAdapter(NANO, 192)
    with torch.no_grad():
        tokens = encoder(torch.randn(2, 3, 96, 96))
        assert tokens.shape == (2, 9, NANO.token_size)
        assert adapter(tokens).shape == (2, 9, 192)


def test_a_tile_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="does not divide"):
        VisionEncoder(NANO.model_copy(update={"image_size": 80}))
