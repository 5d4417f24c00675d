"""Video files: which frames are read, and what is refused."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from parley.config import preset
from parley.media.video import frame_count, read_video

FULL = preset("vita-7b").vision


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


def growing_video(size: int, later: int) -> bytes:
    """Frames of `later` × `later` pixels follow those of `size` × `size`, of which alone the header tells."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm") as out:
        stream = out.add_stream("libvpx", rate=10)
        stream.width = stream.height = size
        second = av.CodecContext.create("libvpx", "w")
        second.width = second.height = later
        for context in (stream.codec_context, second):
            context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 10)
        frames = [av.VideoFrame(side, side, "yuv420p") for side in (size, later) for _ in range(10)]
        packets = [packet for frame in [*frames[:10], None] for packet in stream.codec_context.encode(frame)]
        packets += [packet for frame in [*frames[10:], None] for packet in second.encode(frame)]
        for number, packet in enumerate(packets):
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base = Fraction(1, 10)
            out.mux(packet)
    return buffer.getvalue()


def test_frames_that_are_larger_than_the_header_says_are_not_decoded() -> None:
    data = growing_video(64, 512)
    assert max(frame.width for frame in read_video(data, FULL)) == 512
    with pytest.raises(ValueError, match="cannot read"):
        read_video(data, FULL, max_pixels=100 * 100)


@pytest.mark.parametrize(
    ("degrees", "size", "white"),
    [(0, (64, 32), "left"), (-90, (32, 64), "top"), (90, (32, 64), "bottom"), (180, (64, 32), "right")],
)
def test_a_video_of_a_phone_is_turned_upright(degrees: int, size: tuple[int, int], white: str) -> None:
    """`degrees`: anticlockwise, as FFmpeg has them. The frames are white on the left as they are stored."""
    buffer, pixels = io.BytesIO(), np.zeros((32, 64, 3), np.uint8)
    pixels[:, :32] = 255
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.set_display_rotation(degrees)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    frame = read_video(buffer.getvalue(), FULL)[0]
    assert frame.size == size
    grey = np.asarray(frame).mean(axis=2)
    halves = {"left": grey[:, : size[0] // 2], "right": grey[:, size[0] // 2 :]}
    halves |= {"top": grey[: size[1] // 2], "bottom": grey[size[1] // 2 :]}
    assert halves[white].mean() > 230


@pytest.mark.parametrize(("container", "codec"), [("webm", b"V_VP8"), ("matroska", b"V_MPEG4/ISO/ASP")])
def test_a_video_of_an_unknown_codec_is_refused(container: str, codec: bytes) -> None:
    data = video(0.5, container=container).replace(codec, b"V_XYZ" + codec[5:])
    with pytest.raises(ValueError, match="of a kind that cannot be decoded"):
        read_video(data, FULL)


def test_what_is_not_a_video_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read 5 bytes as a video"):
        read_video(b"hello", FULL)
    with pytest.raises(ValueError, match=r"64×64 is over 1,000 pixels"):
        read_video(video(0.5), FULL, max_pixels=1000)


def test_a_video_cut_short_shows_what_there_is_or_is_refused() -> None:
    data = video(6.0, container="webm")
    assert len(read_video(data[: len(data) // 2], FULL)) >= 3
