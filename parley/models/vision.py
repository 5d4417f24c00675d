"""Pictures and video → vectors the language model can read (VITA-1.5 paper, 2.1).

Notable points:
- The network is transformers' InternViT; here are its ends: the class token is dropped, a 2×2 pixel shuffle makes four
  patches one token, and a two-layer MLP brings a token to the language width.
- A large picture is cut into tiles of the grid whose aspect ratio fits best, plus a thumbnail of the whole
  (InternVL 1.5 paper, 3.3).
- A video has no module of its own: its frames are pictures that are never tiled.
- Bytes from a stranger are checked before they are decoded: kind of file, then size from the header.
"""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from parley.config import VisionConfig

MAX_PIXELS = 64_000_000  # of one picture; decoded, that is 192 MB
MAX_VIDEO_SECONDS = 3600.0
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM")


class TooLargeError(ValueError):
    """A picture or video above a limit. What is damaged, or no picture at all, is a plain `ValueError`."""


class VisionEncoder(nn.Module):
    """Tiles → tokens: InternViT without its class token, then the pixel shuffle."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        from transformers.models.internvl.configuration_internvl import InternVLVisionConfig
        from transformers.models.internvl.modeling_internvl import InternVLVisionModel

        side = config.image_size // config.patch_size
        if config.image_size % config.patch_size or side % config.downsample:
            raise ValueError(
                f"a tile of {config.image_size} px does not divide into patches of {config.patch_size} px "
                f"that come {config.downsample}×{config.downsample} to a token"
            )
        self.config = config
        self.tower = InternVLVisionModel(
            InternVLVisionConfig(
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                intermediate_size=config.intermediate_size,
                image_size=config.image_size,
                patch_size=config.patch_size,
                attention_bias=config.qkv_bias,
                use_qk_norm=config.qk_norm,
                norm_type=config.norm,
                layer_norm_eps=config.layer_norm_eps,
            )
        )
        # The library starts positions at zero, which leaves a fresh tower blind to place for its first steps.
        nn.init.trunc_normal_(self.tower.embeddings.position_embeddings, std=0.02)
        nn.init.trunc_normal_(self.tower.embeddings.cls_token, std=0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        """`[tiles, 3, image_size, image_size]` normalised pixels → `[tiles, n, token_size]`.

        n = (image_size / patch_size / downsample)² tokens a tile.
        """
        hidden = self.tower(pixels).last_hidden_state[:, 1:]
        return pixel_shuffle(hidden * self.config.feature_scale, self.config.downsample)


class VisionAdapter(nn.Sequential):
    """`[..., token_size]` → `[..., language_size]`: linear, GELU, linear, as published (`mlp2x_gelu`)."""

    def __init__(self, vision: VisionConfig, language_size: int) -> None:
        super().__init__(
            nn.Linear(vision.token_size, language_size),
            nn.GELU(),
            nn.Linear(language_size, language_size),
        )


def pixel_shuffle(patches: Tensor, factor: int) -> Tensor:
    """`[tiles, side², size]` → `[tiles, (side / factor)², size · factor²]`.

    Each token is a square of `factor²` neighbouring patches, joined row by row; tokens are row-major too
    (InternVL's v2 order).
    """
    tiles, count, size = patches.shape
    side = int(count**0.5)
    squares = patches.reshape(tiles, side // factor, factor, side // factor, factor, size).transpose(2, 3)
    return squares.reshape(tiles, (side // factor) ** 2, factor * factor * size)


def read_image(data: bytes | str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes a picture to RGB, upright.

    Raises `ValueError` if it is no picture or is cut short, `TooLargeError` if it has more than `max_pixels`, which the
    header tells before any decoding.
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
        _check_pixels("picture", image.width, image.height, max_pixels)
        if image.width < 1 or image.height < 1:
            raise ValueError("the picture is empty")
        try:
            return ImageOps.exif_transpose(image).convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"the picture is damaged: {error}") from None


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


def tile(image: Image.Image, config: VisionConfig) -> Tensor:
    """A picture → `[tiles, 3, image_size, image_size]`, row by row, a thumbnail last if there is more than one tile."""
    size = config.image_size
    columns, rows = tile_grid(image.width, image.height, config)
    whole = image.resize((columns * size, rows * size), Image.Resampling.BICUBIC)
    boxes = [(c * size, r * size, (c + 1) * size, (r + 1) * size) for r in range(rows) for c in range(columns)]
    tiles = [whole.crop(box) for box in boxes]
    if len(tiles) > 1:
        tiles.append(image.resize((size, size), Image.Resampling.BICUBIC))
    return _normalise(tiles, config)


def frames_to_pixels(frames: list[Image.Image], config: VisionConfig) -> Tensor:
    """Frames of a video → `[frames, 3, image_size, image_size]`, never tiled."""
    size = (config.image_size, config.image_size)
    return _normalise([frame.convert("RGB").resize(size, Image.Resampling.BICUBIC) for frame in frames], config)


def frame_count(seconds: float, config: VisionConfig) -> int:
    """How many frames of a video are looked at: 4 under 4 s, one a second to 16 s, then 16; at most `max_frames`."""
    return min(max(4, min(int(seconds), 16)), config.max_frames)


def read_video(data: bytes | str | Path, config: VisionConfig, max_pixels: int = MAX_PIXELS) -> list[Image.Image]:
    """The frames of a video to look at, evenly spread, oldest first.

    The packets are listed first, undecoded: that gives the length even where the header has none (a browser's
    recording), and the key frames to jump to. Only the chosen frames are kept. Raises `ValueError` if it is no video,
    `TooLargeError` if it has larger frames than `max_pixels` or is longer than an hour.
    """
    what = str(data) if isinstance(data, str | Path) else f"{len(data)} bytes"
    try:
        with av.open(io.BytesIO(data) if isinstance(data, bytes) else str(data)) as container:
            if not container.streams.video:
                raise ValueError(f"there is no video in {what}")
            stream = container.streams.video[0]
            _check_pixels("video", stream.width, stream.height, max_pixels)
            return _pick_frames(container, stream, config)
    except av.FFmpegError as error:
        raise ValueError(f"cannot read {what} as a video: {error.strerror}") from None


def _pick_frames(container, stream, config: VisionConfig) -> list[Image.Image]:
    shown, keys, last = [], [], 0
    for packet in container.demux(stream):
        if packet.pts is None:
            continue
        shown.append(packet.pts)
        last = max(last, packet.pts + (packet.duration or 0))
        if packet.is_keyframe:
            keys.append(packet.pts)
        if (last - shown[0]) * stream.time_base > MAX_VIDEO_SECONDS:
            raise TooLargeError(f"the video is longer than {MAX_VIDEO_SECONDS:.0f} s")
    if not shown:
        raise ValueError("the video has no frames")
    shown.sort()
    keys.sort()
    seconds = float((last - shown[0]) * stream.time_base)
    count = frame_count(seconds, config)
    targets = [shown[0] + (last - shown[0]) * (i + 0.5) / count for i in range(count)]
    # The frame on screen at a moment is the last one whose time has come.
    wanted = [max((p for p in shown if p <= target), default=shown[0]) for target in targets]

    picked: dict[int, Image.Image] = {}
    position = None  # the frame last decoded
    frames = None
    for pts in sorted(set(wanted)):
        key = max((k for k in keys if k <= pts), default=None)
        if position is None or (key is not None and key > position):
            container.seek(key if key is not None else shown[0], stream=stream)
            frames = container.decode(stream)
        for frame in frames:
            position = frame.pts if frame.pts is not None else pts
            if position >= pts:
                picked[pts] = frame.to_image()
                break
    if not picked:
        raise ValueError("no frame of the video could be decoded")
    # A damaged tail shows the last frame that could be read.
    fallback = picked[max(picked)]
    return [picked.get(pts, fallback) for pts in wanted]


def _check_pixels(what: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooLargeError(f"the {what} is too large: {width}×{height} is over {max_pixels:,} pixels")


def _normalise(tiles: list[Image.Image], config: VisionConfig) -> Tensor:
    stack = np.stack([np.asarray(t.convert("RGB"), dtype=np.float32) for t in tiles])  # [tiles, side, side, 3]
    mean, std = np.float32(config.image_mean), np.float32(config.image_std)
    return torch.from_numpy(((stack / 255 - mean) / std).transpose(0, 3, 1, 2).copy())
