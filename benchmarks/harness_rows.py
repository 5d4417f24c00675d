"""The rows of benchmarks/lmms_eval_tasks: held-out questions about pictures of nano's world, written and spoken."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet
import soundfile
from datasets import Dataset, Features, Image, Value

from training.data.sample import SAMPLE_RATE, Sample, parts, text_of
from training.data.world import heldout

COUNT = 2  # of each kind of question


def rows() -> Iterator[dict]:
    """id, kind, question, speech (MP3), image (PIL) and answer of each question."""
    written, spoken = heldout.questions(count=COUNT), heldout.questions(spoken=True, count=COUNT)
    for number, (sample, aloud) in enumerate(zip(written, spoken, strict=True)):
        yield {
            "id": str(number),
            "kind": sample.about["kind"],
            "question": text_of(sample.messages[0]),
            "speech": mp3(media(aloud, "audio")),
            "image": media(sample, "image"),
            "answer": text_of(sample.messages[1]),
        }


def media(sample: Sample, kind: str):
    """The picture or the audio of a sample's question."""
    return next(part[kind] for part in parts(sample.messages[0]["content"]) if part["type"] == kind)


def mp3(audio: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, SAMPLE_RATE, format="MP3")
    return file.getvalue()


def write(file: Path) -> None:
    """Writes the rows as Parquet that `datasets` reads pictures from."""
    text = Value("string")
    features = {"id": text, "kind": text, "question": text, "speech": Value("binary"), "image": Image(), "answer": text}
    table = Dataset.from_list(list(rows()), features=Features(features)).with_format("arrow")[:]
    pyarrow.parquet.write_table(table, file)
