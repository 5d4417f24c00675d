"""What lmms-eval asks of a row, and when an answer is right. It runs in lmms-eval's environment: no import of ours."""

from __future__ import annotations

import hashlib
import string
import tempfile
from pathlib import Path

FOLDER = (
    Path(tempfile.gettempdir()) / "parley-lmms-eval"
)  # of speech and videos: lmms-eval sends files, rows hold bytes


def question(row: dict, lmms_eval_specific_kwargs: dict | None = None) -> str:
    return row["question"]


def picture(row: dict) -> list:
    """The row's picture, in RGB."""
    return [row["image"].convert("RGB")]


def picture_and_speech(row: dict) -> list:
    """The picture, and the path of an MP3 file of the spoken question."""
    return [*picture(row), written(row["speech"], "mp3")]


def video(row: dict) -> list:
    """The path of an mp4 file."""
    return [written(row["video"], "mp4")]


def written(content: bytes, ending: str) -> str:
    """The path of a file with this content."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{hashlib.sha256(content).hexdigest()[:16]}.{ending}"
    file.write_bytes(content)
    return str(file)


def written_question(row: dict, lmms_eval_specific_kwargs: dict | None = None) -> list[dict]:
    """The messages that are sent: the picture, then the question."""
    return asked({"type": "image", "url": picture(row)[0]}, row)


def question_of_video(row: dict, lmms_eval_specific_kwargs: dict | None = None) -> list[dict]:
    """The messages that are sent: the video, then the question."""
    return asked({"type": "video", "url": video(row)[0]}, row)


def asked(medium: dict, row: dict) -> list[dict]:
    return [{"role": "user", "content": [medium, {"type": "text", "text": question(row)}]}]


def judge(row: dict, answers: list[str]) -> dict[str, float]:
    """1 if the answer is the reference, apart from capitals, punctuation and spaces; else 0."""
    return {"exact_match": float(plain(answers[0]) == plain(row["answer"]))}


def plain(text: str) -> str:
    return " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())
