"""Video files: reading the few frames that the model sees. Frames are pictures that are never tiled."""

from __future__ import annotations

import io
from pathlib import Path

import av
from PIL import Image

from parley.config import VisionConfig
from parley.media.image import MAX_PIXELS, TooLargeError, check_pixels

MAX_VIDEO_SECONDS = 3600.0


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
            check_pixels("video", stream.width, stream.height, max_pixels)
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
