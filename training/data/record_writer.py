"""Samples → LLaVA/VITA records, with their media as files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image

from training.data.sample import SAMPLE_RATE, Sample, parts

FRAME_RATE = 8  # of a written video
FRAMES_EACH = 4  # a video's four frames last half a second each: two seconds


def write_video(path: Path, frames: list[Image.Image]) -> None:
    """An mp4 (H.264) that shows each frame for half a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE, options={"crf": "12"})
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            for _ in range(FRAMES_EACH):
                container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())


def write_audio(path: Path, audio: np.ndarray) -> None:
    """A 16-bit mono WAV at 16 kHz."""
    soundfile.write(path, audio, SAMPLE_RATE, subtype="PCM_16")


WRITERS = {
    "image": ("png", lambda path, image: image.save(path)),
    "video": ("mp4", write_video),
    "audio": ("wav", write_audio),
}


def write_records(samples: Iterable[tuple[str, Sample]], folder: str | Path) -> Path:
    """Writes (id, sample) pairs as LLaVA/VITA records with their media files; returns `records.jsonl` in the folder.

    Raises `ValueError` if the folder already holds records.
    """
    folder = Path(folder)
    file = folder / "records.jsonl"
    if file.exists():
        raise ValueError(f"{file} exists; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with file.open("w") as out:
        for name, sample in samples:
            out.write(json.dumps(to_record(name, sample, folder)) + "\n")
    return file


def to_record(name: str, sample: Sample, folder: Path) -> dict:
    """The sample as a record; its media are written into `folder`."""
    media: dict[str, list[str]] = {}
    record: dict = {"set": sample.task, "id": name, "conversations": []}
    for message in sample.messages:
        if message["role"] == "assistant":
            if message.get("state") == "nothing":
                if "inserted_id" in record:
                    raise ValueError(f"{name}: a record can mark only one answer as a refusal, this sample has more")
                record["inserted_id"] = len(record["conversations"])
            record["conversations"].append({"from": "gpt", "value": message["content"]})
            continue
        lines = []
        for part in parts(message["content"]):
            if part["type"] == "text":
                lines.append(part["text"])
                continue
            kind = part["type"]
            extension, write = WRITERS[kind]
            path = f"{name}-{len(media.get(kind, []))}.{extension}"
            write(folder / path, part[kind])
            media.setdefault(kind, []).append(path)
            lines.append(f"<{kind}>")
        record["conversations"].append({"from": "human", "value": "\n".join(lines)})
    for kind, paths in media.items():
        record[kind] = paths if kind == "audio" or len(paths) > 1 else paths[0]
    return record
