"""The rows of benchmarks/lmms_eval_tasks: held-out questions about pictures and videos of nano's world."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet
import soundfile
from datasets import Dataset, Features, Image, Value

from training.data.record_writer import write_video
from training.data.sample import SAMPLE_RATE, Sample, parts, text_of
from training.data.world import heldout

SEED = heldout.SEEDS[0]
COUNT = 2  # of each kind of question
VIDEOS = 8


def write(folder: Path) -> None:
    """Writes rows.parquet and videos.parquet into a folder, as `datasets` reads pictures from."""
    text, content = Value("string"), Value("binary")
    asked = {"id": text, "kind": text, "question": text, "answer": text}
    _write(folder / "rows.parquet", pictures(), asked | {"speech": content, "image": Image()})
    _write(folder / "videos.parquet", videos(), asked | {"video": content})


def _write(file: Path, rows: Iterator[dict], features: dict) -> None:
    table = Dataset.from_list(list(rows), features=Features(features)).with_format("arrow")[:]
    pyarrow.parquet.write_table(table, file)


def pictures() -> Iterator[dict]:
    """Questions about pictures, written and spoken (MP3)."""
    written, spoken = heldout.questions(SEED, COUNT), heldout.questions(SEED, COUNT, spoken=True)
    for number, (sample, aloud) in enumerate(zip(written, spoken, strict=True)):
        yield asked(number, sample) | {"speech": mp3(media(aloud, "audio")), "image": media(sample, "image")}


def videos() -> Iterator[dict]:
    """Questions about videos (mp4)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "video.mp4"
        for number, sample in enumerate(heldout.videos(SEED, VIDEOS)):
            write_video(file, media(sample, "video"))
            yield asked(number, sample) | {"video": file.read_bytes()}


def asked(number: int, sample: Sample) -> dict:
    question, answer = sample.messages
    return {
        "id": str(number), "kind": sample.about["kind"], "question": text_of(question), "answer": text_of(answer),
    }  # fmt: skip


def media(sample: Sample, kind: str):
    """The picture, the frames or the audio of a sample's question."""
    return next(part[kind] for part in parts(sample.messages[0]["content"]) if part["type"] == kind)


def mp3(audio: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, SAMPLE_RATE, format="MP3")
    return file.getvalue()
