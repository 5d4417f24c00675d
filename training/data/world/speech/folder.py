"""Where speech that was made once is kept."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "PARLEY_SPEECH_CACHE"


def folder() -> Path:
    """`PARLEY_SPEECH_CACHE`, or `~/.cache/parley/speech`."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "parley" / "speech"
