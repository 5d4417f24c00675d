"""Pictures: reading them from files, cutting them into tiles, normalising them to arrays.

Notable points:
- A large picture is cut into tiles of the grid whose aspect ratio fits best, plus a thumbnail of the whole
  (InternVL 1.5 paper, 3.3).
- Bytes from outside are checked before they are decoded: the kind of file, then the size in its header.
- A picture is read as a viewer shows it: upright, on white where it is transparent, its first frame if it moves.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from parley.config import VisionConfig

MAX_PIXELS = 64_000_000  # of one picture; decoded, that is 192 MB
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
GREYS = np.rint(np.arange(1 << 16) / 257).astype(np.uint8)  # 16-bit grey → 8-bit


class TooLargeError(ValueError):
    """A picture or video above a limit. What is damaged, or no picture at all, is a plain `ValueError`."""


def read_image(data: bytes | str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes a PNG, JPEG, WebP or GIF file to RGB.

    Raises `ValueError` if it is no picture or is cut short, `TooLargeError` if it has more than `max_pixels`, which the
    header says before any decoding.
    """
    try:
        image = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=IMAGE_FORMATS)
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"the picture is too large: {error}") from None
    except (OSError, SyntaxError, ValueError) as error:
        what = str(data) if isinstance(data, str | Path) else f"{len(data)} bytes"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a picture"
        raise ValueError(f"cannot read {what}: {reason}; known kinds: {', '.join(IMAGE_FORMATS)}") from None
    with image:
        check_pixels("picture", image.width, image.height, max_pixels)
        if image.width < 1 or image.height < 1:
            raise ValueError("the picture is empty")
        try:
            return to_rgb(ImageOps.exif_transpose(image))
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"the picture is damaged: {error}") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Of any mode; what is transparent is white."""
    if image.mode.startswith("I;16"):
        image = _to_8_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    coloured = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(coloured, mask=coloured)
    return white


def tile_grid(width: int, height: int, config: VisionConfig) -> tuple[int, int]:
    """The (columns, rows) that a picture of `width` × `height` pixels is cut into: of all grids of at most `max_tiles`,
    the one with the nearest aspect ratio.

    Among grids that fit equally well a larger one is taken only if the picture fills more than half of it.
    """
    grids = [(c, r) for c in range(1, config.max_tiles + 1) for r in range(1, config.max_tiles // c + 1)]
    best, smallest_gap = (1, 1), float("inf")
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        gap = abs(width / height - columns / rows)
        fills = width * height > 0.5 * config.image_size**2 * columns * rows
        if gap < smallest_gap or (gap == smallest_gap and fills):
            best, smallest_gap = (columns, rows), gap
    return best


def tile(image: Image.Image, config: VisionConfig) -> np.ndarray:
    """A picture → float32 `[tiles, 3, image_size, image_size]`, row by row, and last a thumbnail if there is more than
    one tile."""
    image, size = to_rgb(image), config.image_size
    columns, rows = tile_grid(image.width, image.height, config)
    whole = image.resize((columns * size, rows * size), Image.Resampling.BICUBIC)
    boxes = [(c * size, r * size, (c + 1) * size, (r + 1) * size) for r in range(rows) for c in range(columns)]
    tiles = [whole.crop(box) for box in boxes]
    if len(tiles) > 1:
        tiles.append(image.resize((size, size), Image.Resampling.BICUBIC))
    return _normalise(tiles, config)


def frames_to_pixels(frames: list[Image.Image], config: VisionConfig) -> np.ndarray:
    """Frames of a video → float32 `[frames, 3, image_size, image_size]`, never tiled."""
    size = (config.image_size, config.image_size)
    return _normalise([to_rgb(frame).resize(size, Image.Resampling.BICUBIC) for frame in frames], config)


def check_pixels(what: str, width: int, height: int, max_pixels: int) -> None:
    """Raises `TooLargeError` for more than `max_pixels`."""
    if width * height > max_pixels:
        raise TooLargeError(f"the {what} is too large: {width}×{height} is over {max_pixels:,} pixels")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """16-bit grey as L, or LA where one grey is transparent. Pillow's own conversion makes all but black white."""
    greys = np.asarray(image)
    levels = Image.fromarray(GREYS[greys])
    if (transparent := image.info.get("transparency")) is not None:
        levels.putalpha(Image.fromarray(np.where(greys == transparent, 0, 255).astype(np.uint8)))
    return levels


def _normalise(tiles: list[Image.Image], config: VisionConfig) -> np.ndarray:
    """Squares of `image_size` → float32 `[tiles, 3, image_size, image_size]`."""
    stack = np.stack([np.asarray(t, dtype=np.float32) for t in tiles])  # [tiles, side, side, 3]
    mean, std = np.float32(config.image_mean), np.float32(config.image_std)
    return ((stack / 255 - mean) / std).transpose(0, 3, 1, 2).copy()
