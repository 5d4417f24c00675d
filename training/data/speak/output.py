"""The folder that is written: media in folders of bounded size, and records that name them.

Notable points:
- Paths in records are relative to the folder, also those of media outside it, so the two can be moved together.
- Media that were bytes inside a record (Parquet, tars) are written as files beside the speech.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from training.data.record_error import RecordError
from training.data.record_writer import write_audio
from training.data.sample import parts

ITEMS_A_FOLDER = 1000
SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt"}


class OutputFolder:
    """Where the media of an item (a record that is made) are."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, item: int, name: str) -> Path:
        """A file of item `item`; its folder is made."""
        file = self.folder / "media" / f"{item // ITEMS_A_FOLDER:05d}" / f"{item:08d}-{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def save_audio(self, item: int, name: str, audio: np.ndarray) -> str:
        """Writes float32 audio at 16 kHz; returns its path. Raises `ValueError` if it cannot be written."""
        file = self.path(item, f"{name}.wav")
        try:
            write_audio(file, audio)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{file} cannot be written; is the disk full? {error}") from None
        return str(file)

    def file_of(self, item: int, number: int, part: dict) -> str:
        """The path of a media part relative to the folder; bytes are written as the item's file `number`."""
        content = part[part["type"]]
        if isinstance(content, bytes):
            file = self.path(item, f"{part['type']}{number}.{ending(part['type'], content)}")
            file.write_bytes(content)
            content = file
        return os.path.relpath(content, self.folder)

    def record(self, item: int, name: str, task: str, messages: Iterable[dict]) -> dict:
        """Messages as a LLaVA/VITA record. Of audio parts, "transcript" and "recording" go into the record too.

        Raises `RecordError` if more than one answer is a refusal, which such a record cannot say.
        """
        media: dict[str, list[str]] = {}
        record: dict = {"set": task, "id": name, "conversations": []}
        transcripts, recordings = [], []
        for index, message in enumerate(messages):
            lines = []
            for part in parts(message["content"]):
                if part["type"] == "text":
                    lines.append(part["text"])
                    continue
                lines.append(f"<{part['type']}>")
                files = media.setdefault(part["type"], [])
                files.append(self.file_of(item, len(files), part))
                if part["type"] == "audio":
                    transcripts.append(part.get("transcript"))
                    recordings.append(part.get("recording"))
            record["conversations"].append({"from": SPEAKERS[message["role"]], "value": "\n".join(lines)})
            if message.get("state") == "nothing":
                if "inserted_id" in record:
                    raise RecordError("two refusals", "a record in LLaVA's form marks one answer as refused, not more")
                record["inserted_id"] = index
        record |= {kind: files if kind == "audio" or len(files) > 1 else files[0] for kind, files in media.items()}
        return record | ({"transcripts": transcripts, "recordings": recordings} if transcripts else {})


def ending(kind: str, content: bytes) -> str:
    """A file name's ending for this content; readers look at the content, so it is for people only."""
    try:
        match kind:
            case "image":
                with Image.open(io.BytesIO(content)) as image:
                    return image.format.lower()
            case "audio":
                return soundfile.info(io.BytesIO(content)).format.lower()
    except (OSError, soundfile.LibsndfileError):
        return "bin"
    return "mp4"
