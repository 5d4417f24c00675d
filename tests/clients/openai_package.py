"""Runs the tests that the `openai` package has of its own API against a gateway that runs.

    python tests/clients/openai_package.py [http://127.0.0.1:8080/v1]

They are in its source package (Apache-2.0), which is fetched from the package index, and were made for a server that
answers everything. Left out are those of what this gateway does not have (stored chats, deleting a model), those that
send every field there is, which it refuses by name, and transcriptions of bytes that are no sound; those of speech ask
no server. `tests/services/gateway/api/openai` has tests of ours in their place.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

FILES = ("tests/api_resources/test_models.py", "tests/api_resources/chat/test_completions.py")
CHOSEN = "(Models and (retrieve or list)) or (Completions and create_overload and not all_params)"


def fetch(folder: Path) -> Path:
    """The source of the installed version, unpacked."""
    package = f"openai=={version('openai')}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-binary",
        "openai",
        "-d",
        folder,
        package,
    ]
    subprocess.run(command, check=True)
    with tarfile.open(next(folder.glob("openai-*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(path for path in folder.glob("openai-*") if path.is_dir())


def main(url: str = "http://127.0.0.1:8080/v1") -> int:
    with tempfile.TemporaryDirectory() as folder:
        source = fetch(Path(folder))
        options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "filterwarnings=", "-k", CHOSEN]
        environment = {**os.environ, "TEST_API_BASE_URL": url}
        return subprocess.run(
            [sys.executable, "-m", "pytest", *options, *FILES], cwd=source, env=environment
        ).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
