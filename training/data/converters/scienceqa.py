"""ScienceQA: problems.json, pid_splits.json and images/SPLIT/ID/image.png; or the Parquet files of Hugging Face.

Notable points:
- A problem becomes one question: the picture, the question, its hint, the choices as (A), (B) …; the answer names the
  letter and the choice, then the solution.
- The splits are those of pid_splits.json (train, val, test); its others (minival …) are parts of these.
- Pictures of the Parquet files are written as files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from training.data.converters.parquet import read_rows, row_count
from training.data.converters.part import Item, Part, find_root, split_of
from training.data.records import Bad

SPLITS = ("train", "val", "test")
COLUMNS = ("image", "question", "choices", "answer", "hint", "solution")
WANTED = "it needs problems.json and pid_splits.json, or data/train-*.parquet"


def parts(source: Path) -> list[Part]:
    """A part for each split."""
    root = find_root(
        source, "data/scienceqa", "scienceqa", WANTED, lambda path: bool(is_original(path) or tables(path))
    )
    if is_original(root):
        return original_parts(root)
    return [
        Part(name, "questions", root, partial(rows, root, name, files), split_of(name), row_count(files))
        for name, files in tables(root).items()
    ]


def is_original(path: Path) -> bool:
    return (path / "problems.json").is_file() and (path / "pid_splits.json").is_file()


def tables(path: Path) -> dict[str, list[Path]]:
    """The Parquet files of a folder, or of data/ in it: split → files."""
    files = sorted([*path.glob("*.parquet"), *path.glob("data/*.parquet")])
    names = dict.fromkeys(file.name.split("-")[0] for file in files)
    return {name: [file for file in files if file.name.split("-")[0] == name] for name in names}


def original_parts(root: Path) -> list[Part]:
    problems, splits = read_json(root / "problems.json"), read_json(root / "pid_splits.json")
    return [
        Part(name, "questions", root, partial(problem_items, root, problems, name, splits[name]), split_of(name),
             len(splits[name]))
        for name in SPLITS if name in splits
    ]  # fmt: skip


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object: 30 MB for the 21,208 problems. Raises `ValueError` if it is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: a JSON object is needed, not a {type(value).__name__}")
    return value


def problem_items(root: Path, problems: Mapping[str, Any], split: str, names: list[str]) -> Iterator[Item | Bad]:
    """The problems of a split, in its order."""
    folder = f"images/{split}" if (root / "images").is_dir() else split
    for name in names:
        where, problem = f"problems.json[{name!r}]", problems.get(name)
        if not isinstance(problem, dict):
            yield Bad("pid_splits.json", name, "missing problem", f"{split} has problem {name}, problems.json has not")
            continue
        picture = f"{folder}/{name}/{problem['image']}" if problem.get("image") else None
        yield found(where, name, problem, picture)


def rows(root: Path, split: str, files: list[Path]) -> Iterator[Item | Bad]:
    """The problems of the Parquet files of a split, numbered."""
    number = 0
    for file in files:
        for where, row in read_rows(file, root, COLUMNS):
            if isinstance(row, Bad):
                yield row
                continue
            content = row["image"]["bytes"] if isinstance(row.get("image"), dict) else None
            picture = f"images/{split}/{number}{suffix(content)}" if content else None
            yield found(where, f"{split}-{number}", row, picture, {picture: content} if content else {})
            number += 1


def suffix(content: bytes) -> str:
    """The extension of a picture, by how it begins."""
    return ".jpg" if content.startswith(b"\xff\xd8") else ".png"


def found(
    where: str, name: str, problem: Mapping[str, Any], picture: str | None, content: Mapping[str, bytes] | None = None
) -> Item | Bad:
    """A problem as an item, or what is wrong with it."""
    choices, answer = problem.get("choices"), problem.get("answer")
    if not isinstance(problem.get("question"), str) or not isinstance(choices, list):
        return Bad(where, name, "no question", '"question" must be a string and "choices" a list')
    if not isinstance(answer, int) or not 0 <= answer < len(choices) <= len(ascii_uppercase):
        return Bad(where, name, "no answer", f'"answer" must be the number of a choice, of {len(choices)}: {answer!r}')
    record = {"set": "scienceqa", "id": name, "conversations": conversation(problem, picture is not None)}
    return Item(where, record | ({"image": picture} if picture else {}), content or {})


def conversation(problem: Mapping[str, Any], has_picture: bool) -> list[dict[str, str]]:
    letters = [f"({letter}) {choice}" for letter, choice in zip(ascii_uppercase, problem["choices"], strict=False)]
    asked = ["<image>" if has_picture else "", problem["question"], problem.get("hint"), "\n".join(letters)]
    answered = [f"The answer is {letters[problem['answer']]}.", problem.get("solution")]
    return [{"from": "human", "value": joined(asked)}, {"from": "gpt", "value": joined(answered)}]


def joined(lines: Iterable[str | None]) -> str:
    """The lines that say something."""
    return "\n".join(str(line).strip() for line in lines if line and str(line).strip())
