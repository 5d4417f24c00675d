"""The tokens of a stack in containers, as files: `python -m services.ray.tokens FOLDER`.

Each is taken from the environment, else kept, else made up. Ray reads its own through RAY_AUTH_TOKEN_PATH, services and
gateway theirs through PARLEY_SERVICE_TOKEN_FILE.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

FILES = {"ray_token": "RAY_AUTH_TOKEN", "service_token": "PARLEY_SERVICE_TOKEN"}  # name → variable


def write_tokens(folder: Path) -> None:
    """Writes what is missing or was given anew. Only the user that runs this can read the files.

    Raises `ValueError` for a given token that no request could carry.
    """
    for name, variable in FILES.items():
        path = folder / name
        given = os.environ.get(variable, "")
        if not all(33 <= ord(character) <= 126 for character in given):
            raise ValueError(f"{variable} must be of printable ASCII characters without spaces")
        if given or not path.exists():
            temporary = path.with_suffix(".new")
            temporary.touch(mode=0o600)
            temporary.write_text(given or secrets.token_urlsafe(32))
            temporary.rename(path)


if __name__ == "__main__":
    try:
        write_tokens(Path(sys.argv[1]))
    except ValueError as error:
        sys.exit(f"tokens: {error}")
