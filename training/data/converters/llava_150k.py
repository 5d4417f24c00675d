"""LLaVA-Instruct-150K: a JSON list whose pictures are named without their folder, and the COCO pictures.

Notable points:
- "image" is "000000033471.jpg". COCO 2017 has it as train2017/000000033471.jpg, COCO 2014 as
  train2014/COCO_train2014_000000033471.jpg; the records are written with the path that is there.
- llava_instruct_150k.json is conversation_58k, detail_23k and complex_reasoning_77k in one, so these are read only
  where it is not there. The descriptions of detail_23k are captions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from training.data.converters.part import Item, Part, find_root
from training.data.record_error import RecordError
from training.data.records import Bad
from training.data.sources.json_records import JsonDialogues

WHOLE = "llava_instruct_150k"
KINDS = {"conversation_58k": "questions", "detail_23k": "captions", "complex_reasoning_77k": "questions"}
PLACES = ("train2017/{}", "train2014/COCO_train2014_{}", "coco/train2017/{}", "coco/train2014/COCO_train2014_{}", "{}")
WANTED = f"it needs {WHOLE}.json, or {', '.join(f'{name}.json' for name in KINDS)}"


def parts(source: Path) -> list[Part]:
    """One part, or one for each of the three files that it was made from. Raises `ValueError` without pictures."""
    root = find_root(source, "LLaVA-Instruct-150K", "llava-150k", WANTED, lambda path: bool(found(path)))
    if not any((root / place).parent.is_dir() for place in PLACES[:-1]):
        raise ValueError(f"{root} has no pictures: put COCO's folder train2017 or train2014 there, or a link to it")
    opened = [(JsonDialogues(root / f"{name}.json", root), kind) for name, kind in found(root).items()]
    return [Part(file.path.stem, kind, root, partial(items, file), count=len(file)) for file, kind in opened]


def found(root: Path) -> dict[str, str]:
    """The files to read, without their extension: name → kind."""
    if (root / f"{WHOLE}.json").is_file():
        return {WHOLE: "questions"}
    return {name: kind for name, kind in KINDS.items() if (root / f"{name}.json").is_file()}


def items(source: JsonDialogues) -> Iterator[Item | Bad]:
    """The records of a file, with the path of the picture in place of its name."""
    for index in range(len(source)):
        where = f"{source.path.name}[{index}]"
        try:
            record = source.record(index)
        except RecordError as error:
            yield Bad(where, "", error.reason, str(error))
            continue
        if isinstance(record, dict) and isinstance(record.get("image"), str):
            record = {"set": source.path.stem} | record | {"image": picture(source.media, record["image"])}
        yield Item(where, record)


def picture(root: Path, name: str) -> str:
    """The path of a COCO picture under `root`; where there is none, the place that it was looked for first."""
    paths = [place.format(name) for place in PLACES]
    return next((path for path in paths if (root / path).is_file()), paths[0])
