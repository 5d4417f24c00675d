"""The page's modules that need no browser, in node's own test runner; resampling also against soxr."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soxr

from services.gateway.web.page import STATIC

MODULES = Path(__file__).parent / "modules"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="needs node 20 or newer on the PATH")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The page's files and their tests, where node takes both for modules."""
    folder = tmp_path_factory.mktemp("modules")
    shutil.copytree(STATIC, folder / "static")
    shutil.copytree(MODULES, folder / "tests")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "cases.json").write_text(json.dumps([soxr_case(48_000, 24_000), soxr_case(44_100, 24_000)]))
    return folder


def soxr_case(source: int, target: int) -> dict:
    """Noise below 8 kHz at one rate, and the same as soxr makes it at the other."""
    noise = np.random.default_rng(0).normal(0, 0.1, source // 2)
    spectrum = np.fft.rfft(noise)
    spectrum[np.fft.rfftfreq(len(noise), 1 / source) > 8000] = 0
    samples = np.fft.irfft(spectrum, len(noise))
    wanted = soxr.resample(samples, source, target, quality="VHQ")
    return {"from": source, "to": target, "input": samples.tolist(), "wanted": wanted.tolist()}


@pytest.mark.parametrize("name", sorted(path.name for path in MODULES.glob("*.test.js")))
def test_modules(folder, name):
    done = subprocess.run(
        [NODE, "--test", f"tests/{name}"],
        cwd=folder,
        env={"SOXR_CASES": str(folder / "cases.json")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
