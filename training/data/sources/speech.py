"""A user's speech with its transcripts, in any format, as a source of `Utterance`."""

from __future__ import annotations

from pathlib import Path

from training.data.source import Source, Utterance
from training.data.sources.speech_lines import SpeechLines

FORMATS = {"lines": SpeechLines}


def open_speech(path: str | Path, *, media: str | Path | None = None, format: str = "auto") -> Source[Utterance]:
    """The utterances of a file or folder. Only an index is read: bad records raise when they are asked for.

    Args:
        path: a file of JSON lines (`.gz` or not).
        media: folder that relative paths of audio start from; None: that of `path`.
        format: `lines`, or `auto`, which looks at the file.

    Raises `ValueError` if there is nothing there, or nothing of a known format.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"no such file or folder of speech: {path}")
    if format not in ("auto", *FORMATS):
        raise ValueError(f"no format {format!r} of speech; there are: auto, {', '.join(FORMATS)}")
    return SpeechLines(path, Path(media) if media is not None else path.parent)
