"""The shipped model, asked on the page by voice about what its camera sees."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from PIL import Image
from steps import hear, played, start_talking

from services.registry import SERVICES

ROOT = Path(__file__).parents[4]
NANO = ROOT / "checkpoints" / "nano"
SIDE = 480  # pixels of the camera's picture


@pytest.fixture(scope="module")
def nano(services) -> dict[str, int]:
    """Ports of the four services with the shipped model, beside the others in their event loop."""
    ports = {name: services.start(name, f"nano_{name}", checkpoint=NANO) for name in SERVICES}
    yield ports
    for name in SERVICES:
        services.kill(f"nano_{name}")


async def test_it_answers_aloud_what_the_camera_sees(make_gateway, nano, open_page, write_wav, write_y4m):
    addresses = {f"upstream__{name}": f"127.0.0.1:{port}" for name, port in nano.items()}
    gateway = await make_gateway(**addresses)
    question, rate = soundfile.read(ROOT / "examples" / "question.wav", dtype="int16")
    assert rate == 16_000
    picture = Image.open(ROOT / "examples" / "scene.png").convert("RGB")
    camera = write_y4m([picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)])
    page = await open_page(f"http://127.0.0.1:{gateway.http_port}/", write_wav([4.0, question, 60.0]), camera)
    await start_talking(page)
    await page.click("#camera")
    await page.wait_for_selector(".assistant[data-status=done]", timeout=60_000)
    await hear(page, 0.3)
    assert (await played(page))["rms"] > 0.01
    assert await page.inner_text(".user .text") == "what is the colour of the small cross"
    assert "green" in await page.inner_text(".assistant .text")
