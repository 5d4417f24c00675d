"""Whether a record that a layout found can be learned from: the checks of training, before anything is written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import soundfile

from training.data.converters.part import SPEECH_KINDS, Item, Part
from training.data.record_error import RecordError
from training.data.record_media import media_of
from training.data.records import to_sample


def checked(item: Item, part: Part) -> tuple[dict, Counter]:
    """The record to write, and its figures: counts of image, video and audio; seconds and Hz of speech.

    Raises `RecordError` if it is bad. Pictures are looked for, sound files are opened; neither is decoded.
    """
    if part.kind in SPEECH_KINDS:
        return measured(item.record, part.media)
    to_sample(item.record, part.media, need_files=not item.content and part.as_it_is is None)
    return item.record, Counter({kind: len(files) for kind, files in media_of(item.record).items() if files})


def measured(record: dict, media: Path) -> tuple[dict, Counter]:
    """An utterance with its "duration" in seconds, from the header of its file."""
    if not record["text"].strip():
        raise RecordError("empty text", "the transcript is empty")
    if "\ufffd" in record["text"]:
        raise RecordError("text is not UTF-8", f"the transcript has bytes that are no UTF-8: {record['text']!r}"[:200])
    try:
        info = soundfile.info(str(media / record["audio"]))
    except (soundfile.LibsndfileError, OSError) as error:
        raise RecordError("unreadable audio", f"{record['audio']} cannot be read as sound: {error}") from None
    if info.frames == 0:
        raise RecordError("empty audio", f"{record['audio']} has no samples")
    seconds = info.frames / info.samplerate
    return record | {"duration": round(seconds, 3)}, Counter({"audio": 1, "seconds": seconds, info.samplerate: 1})
