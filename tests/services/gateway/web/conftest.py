"""A real Chromium whose microphone plays a sound file and whose camera plays a video file."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from playwright.async_api import Page, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for path in map(shutil.which, NAMES) if path), None)
FLAGS = [
    "--no-sandbox",  # it can have none as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--auto-select-desktop-capture-source=Entire screen",
]
LISTEN = (Path(__file__).parent / "listen.js").read_text()

sys.path.insert(0, str(Path(__file__).parent))

OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture
async def open_page() -> OpenPage:
    """`await open_page(url, microphone=WAV, camera=Y4M, **options of the browser context)` → the page.

    `played()` there tells what it has played, see `listen.js`. A test fails where the page's script has failed.
    """
    if CHROMIUM is None:
        pytest.skip(f"needs a Chromium on the PATH: {', '.join(NAMES)}")
    errors: list[str] = []
    browsers = []
    async with async_playwright() as playwright:

        async def open_url(
            url: str, microphone: Path | None = None, camera: Path | None = None, flags: list[str] = (), **options
        ) -> Page:
            flags = [*flags]
            flags += [f"--use-file-for-fake-audio-capture={microphone}%noloop"] if microphone else []
            flags += [f"--use-file-for-fake-video-capture={camera}"] if camera else []
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
            browsers.append(browser)
            context = await browser.new_context(**options)
            await context.grant_permissions(["microphone", "camera", "clipboard-read", "clipboard-write"])
            page = await context.new_page()
            page.set_default_timeout(30_000)
            page.on("pageerror", lambda error: errors.append(str(error)))
            await page.add_init_script(LISTEN)
            await page.goto(url)
            return page

        yield open_url
        for browser in browsers:
            await browser.close()
    assert errors == []


@pytest.fixture
def write_wav(tmp_path) -> Callable[[list[np.ndarray | float]], Path]:
    """Makes a sound file at 48 kHz of parts: int16 samples at 16 kHz, or seconds of silence."""

    def write(parts: list[np.ndarray | float]) -> Path:
        silence = [np.zeros(int(part * 16_000), "<i2") if isinstance(part, float) else part for part in parts]
        path = tmp_path / "microphone.wav"
        soundfile.write(path, np.repeat(np.concatenate(silence), 3), 48_000, subtype="PCM_16")
        return path

    return write


@pytest.fixture
def write_y4m(tmp_path) -> Callable[[list[Image.Image]], Path]:
    """Makes a video file of pictures of one even size, 0.5 s each; the browser repeats it."""

    def write(pictures: list[Image.Image]) -> Path:
        width, height = pictures[0].size
        frames = [b"FRAME\n" + _planes(picture) for picture in pictures for _ in range(5)]
        path = tmp_path / "camera.y4m"
        header = f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode()
        path.write_bytes(header + b"".join(frames))
        return path

    return write


def _planes(picture: Image.Image) -> bytes:
    y, cb, cr = (np.asarray(plane) for plane in picture.convert("YCbCr").split())
    return b"".join(plane.tobytes() for plane in (y, cb[::2, ::2], cr[::2, ::2]))


@pytest.fixture
def silence(write_wav) -> Path:
    return write_wav([60.0])
