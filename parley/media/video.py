"""Video files: reading the few frames that the model sees. Frames are pictures that are never tiled."""

from __future__ import annotations

import io
from dataclasses import dataclass
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
            if stream.codec_context is None:
                raise ValueError(f"the video in {what} is of a kind that cannot be decoded")
            check_pixels("video", stream.width, stream.height, max_pixels)
            stream.codec_context.options = {"max_pixels": str(max_pixels)}  # frames may be larger than the header says
            index = _read_index(container, stream)
            wanted = index.spread(frame_count(index.seconds(stream.time_base), config))
            return _decode(container, stream, index, wanted)
    except av.FFmpegError as error:
        raise ValueError(f"cannot read {what} as a video: {error.strerror}") from None


@dataclass
class _Index:
    """When the frames of a video are shown, in the stream's units of time."""

    shown: list[int]  # in order
    keys: list[int]  # those that can be decoded without others, in order
    end: int

    def seconds(self, time_base) -> float:
        return float((self.end - self.shown[0]) * time_base)

    def spread(self, count: int) -> list[int]:
        """`count` evenly spread frames: at each moment the last one whose time has come."""
        first = self.shown[0]
        moments = [first + (self.end - first) * (i + 0.5) / count for i in range(count)]
        return [max((pts for pts in self.shown if pts <= moment), default=first) for moment in moments]


def _read_index(container, stream) -> _Index:
    shown, keys, end = [], [], 0
    for packet in container.demux(stream):
        if packet.pts is None:
            continue
        shown.append(packet.pts)
        end = max(end, packet.pts + (packet.duration or 0))
        if packet.is_keyframe:
            keys.append(packet.pts)
        if (end - shown[0]) * stream.time_base > MAX_VIDEO_SECONDS:
            raise TooLargeError(f"the video is longer than {MAX_VIDEO_SECONDS:.0f} s")
    if not shown:
        raise ValueError("the video has no frames")
    return _Index(sorted(shown), sorted(keys), end)


def _decode(container, stream, index: _Index, wanted: list[int]) -> list[Image.Image]:
    """The frames shown at the times `wanted`."""
    picked: dict[int, Image.Image] = {}
    position = None  # of the frame decoded last
    for pts in sorted(set(wanted)):
        key = max((key for key in index.keys if key <= pts), default=index.shown[0])
        if position is None or key > position:
            container.seek(key, stream=stream)
            frames = container.decode(stream)
        for frame in frames:
            position = frame.pts if frame.pts is not None else pts
            if position >= pts:
                picked[pts] = _upright(frame)
                break
    if not picked:
        raise ValueError("no frame of the video could be decoded")
    # Where the end of the file is damaged, the last frame that could be read is shown.
    last = picked[max(picked)]
    return [picked.get(pts, last) for pts in wanted]


def _upright(frame: av.VideoFrame) -> Image.Image:
    """A phone writes its frames as its sensor lies, with how they are to be turned."""
    quarters = round(frame.rotation / 90)  # anticlockwise, as Pillow's
    return frame.to_image().rotate(90 * quarters, expand=True)
