"""Kokoro's style files: from a folder, an archive or npm, and only the pinned ones."""

import os
import tarfile
from hashlib import sha256

import numpy as np
import pytest

from training.data.world.speech import styles


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A package with other numbers than the real one, whose hash is the pinned one here."""
    folder = tmp_path / "package" / "voices"
    folder.mkdir(parents=True)
    for number, name in enumerate(styles.STYLES):
        np.full((510, 256), number, np.float32).tofile(folder / f"{name}.bin")
    every = b"".join((folder / f"{name}.bin").read_bytes() for name in styles.STYLES)
    monkeypatch.setattr(styles, "SHA256", sha256(every).hexdigest())
    monkeypatch.setenv("PARLEY_SPEECH_CACHE", str(tmp_path / "cache"))
    styles.read.cache_clear()
    yield folder
    styles.read.cache_clear()


def packed(folder, archive):
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(folder, "package/voices")
    return archive


def test_a_folder(package):
    assert "--styles npm" in styles.missing()
    styles.install(package)
    styles.install(package)
    assert styles.missing() == "" and len(list(styles.place().iterdir())) == 28
    assert styles.read("af_aoede").shape == (510, 256) and (styles.read("af_aoede") == 1).all()
    with pytest.raises(ValueError, match="Kokoro has no style 'am_nobody'; it has: af_alloy"):
        styles.read("am_nobody")


def test_an_archive_from_npm(package, monkeypatch, tmp_path):
    packed(package, tmp_path / "kokoro-js.tgz")
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$3" = {styles.PACKAGE} ] && cp {tmp_path}/kokoro-js.tgz . || exit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    styles.fetch()
    assert styles.missing() == ""
    program.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    with pytest.raises(ValueError, match=r"could not get .*: no network"):
        styles.fetch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="npm is not installed"):
        styles.fetch()


def test_what_is_not_the_package(package, tmp_path):
    with pytest.raises(ValueError, match="neither a folder nor the archive of kokoro-js"):
        styles.install(tmp_path / "gone.tgz")
    (package / "am_adam.bin").write_bytes(b"other")
    with pytest.raises(ValueError, match="voices are not those of kokoro-js"):
        styles.install(package)
    (package / "am_adam.bin").unlink()
    with pytest.raises(ValueError, match="has no am_adam"):
        styles.install(packed(package, tmp_path / "a.tgz"))
    assert styles.missing() and not list((tmp_path / "cache").glob("*/*"))
