"""JSON lines of speech: {"audio": path, "text": …, "start": s, "duration" or "end": s, "speaker": …, "id": …}.

The names that the manifests of NeMo and Common Voice use are known too: `audio_filepath`, `transcript`, `offset` …
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from training.data.records import RecordError
from training.data.source import Utterance
from training.data.sources.lines import Lines
from training.data.sources.spoken import SpeechSource, as_seconds

AUDIO = ("audio", "audio_filepath", "audio_path", "path", "wav")
TEXT = ("text", "transcript", "transcription", "sentence")
START = ("start", "offset")
SPEAKER = ("speaker", "speaker_id", "client_id", "spk")
ID = ("id", "utt_id", "utt", "key")


class SpeechLines(SpeechSource):
    """See `training.data.sources.speech`. `media` is the folder that relative paths start from."""

    def __init__(self, path: Path, media: Path) -> None:
        self.lines, self.media = Lines(path), media
        self.fingerprint = self.lines.fingerprint
        if len(self.lines) and self.lines[0].lstrip().startswith(b"["):
            raise ValueError(
                f"{path} is a JSON list; speech is read from JSON lines: `jq -c '.[]' {path.name}` makes them"
            )

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, index: int) -> str:
        return self.lines.where(index)

    def entry(self, index: int) -> Utterance:
        record = json_record(self.lines[index])
        audio, text, speaker = (first_of(record, names) for names in (AUDIO, TEXT, SPEAKER))
        if not isinstance(audio, str) or not audio:
            raise RecordError("no audio", f'"audio" must be the path of a file, not {audio!r}')
        if not isinstance(text, str):
            raise RecordError("no text", f'"text" must be the transcript, not {text!r}')
        start, seconds = span_of(record)
        audio, name = str(self.media / audio), name_of(first_of(record, ID))
        return Utterance(audio, text, name_of(speaker), start, seconds, name, channel_of(record.get("channel")))

    def speaker(self, index: int) -> str:
        return name_of(first_of(json_record(self.lines[index]), SPEAKER))


def json_record(line: bytes) -> dict:
    """A line as a record. Raises `RecordError` if it is no JSON object."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise RecordError("not JSON", f"{error.msg} at column {error.colno}") from None
    if not isinstance(record, dict):
        raise RecordError("not a record", f"a record is a JSON object, not {type(record).__name__}")
    return record


def first_of(record: dict, names: tuple[str, ...]) -> Any:
    """The value under the first of these names that the record has; None without one."""
    return next((record[name] for name in names if record.get(name) is not None), None)


def name_of(value: Any) -> str:
    """A speaker or id, which many manifests write as a number; "" where there is none."""
    return "" if value is None else str(value)


def span_of(record: dict) -> tuple[float, float | None]:
    """(start, seconds) of a record; the end is given as `duration` or as `end`."""
    begin = first_of(record, START)
    start = 0.0 if begin is None else as_seconds("start", begin)
    if record.get("duration") is not None:
        return start, as_seconds("duration", record["duration"])
    return start, None if record.get("end") is None else as_seconds("end", record["end"]) - start


def channel_of(value: Any) -> int | None:
    """The channel of a record. Raises `RecordError` if it is no number from 0 on."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise RecordError("no such channel", f'"channel" must be a number from 0 on, not {value!r}')
