"""A user's speech with its transcripts, in any format, as a source of `Utterance`."""

from __future__ import annotations

from pathlib import Path

import orjson

from training.data.source import Source, Utterance
from training.data.sources.kaldi import KaldiSpeech
from training.data.sources.lines import first_line
from training.data.sources.speech_lines import SpeechLines

FORMATS = ("lines", "lhotse", "kaldi")


def open_speech(path: str | Path, *, media: str | Path | None = None, format: str = "auto") -> Source[Utterance]:
    """The utterances of a file or folder. Only an index is made: bad records raise when they are asked for.

    Args:
        path: a file of JSON lines or of a lhotse manifest (`.gz` or not), or a folder with a manifest or Kaldi's files.
        media: folder that relative paths of audio start from; None: that of the files that name them.
        format: `lines`, `lhotse`, `kaldi`, or `auto`, which looks.

    Raises `ValueError` if there is nothing there, or nothing of that format.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"no such file or folder of speech: {path}")
    if format not in ("auto", *FORMATS):
        raise ValueError(f"no format {format!r} of speech; there are: auto, {', '.join(FORMATS)}")
    folder = path if path.is_dir() else path.parent
    media = folder if media is None else Path(media)
    match format_of(path) if format == "auto" else format:
        case "lines":
            return SpeechLines(path, media)
        case "lhotse":
            from training.data.sources.lhotse_speech import open_lhotse

            return open_lhotse(path, media)
        case "kaldi":
            return KaldiSpeech(folder, media)
    raise AssertionError(format)


def format_of(path: Path) -> str:
    """Which format a file or folder is of. Raises `ValueError` if a folder has nothing of any."""
    if path.is_dir():
        if (path / "wav.scp").is_file():
            return "kaldi"
        if any("cuts" in file.name or "supervisions" in file.name for file in path.glob("*.jsonl*")):
            return "lhotse"
        raise ValueError(
            f"{path} has no speech in a format that is read: neither wav.scp (Kaldi) nor *cuts*.jsonl or "
            "*supervisions*.jsonl (lhotse); name a file of JSON lines itself"
        )
    return "lhotse" if is_lhotse(path) else "lines"


def is_lhotse(path: Path) -> bool:
    """Whether the first line of a file is a cut or a supervision."""
    try:
        record = orjson.loads(first_line(path))
    except orjson.JSONDecodeError:
        return False
    return isinstance(record, dict) and bool({"recording", "recording_id", "tracks"} & record.keys())
