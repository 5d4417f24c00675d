"""`mix.yaml`: the sources of a user's data, each with what kind of data it is and how often it is learned from.

Notable points:
- The kind of a source decides which stages learn from it, and the recipe which share of it (`Schedule.shares`).
- A file or folder of records in place of mix.yaml is a mix of one source.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from training.data.sample import Sample
from training.data.source import Source, Utterance
from training.data.sources.dialogues import open_dialogues
from training.data.sources.speech import open_speech

Kind = Literal[
    "captions", "questions", "spoken_questions", "transcriptions", "speech", "negatives", "cut_questions", "text"
]  # fmt: skip
SPEECH = ("transcriptions", "speech")  # kinds whose records are utterances; those of all others are dialogues
RECORDS = "records"  # the kind of a plain file of dialogues, which is learned from whole
FORMATS = {True: ("auto", "lines", "lhotse", "kaldi"), False: ("auto", "json", "parquet", "webdataset")}
CONTENT = re.compile("[0-9a-f]{32}")  # a picture that is named by its content (`record_media.content_key`)
MIX_SUFFIXES = (".yaml", ".yml")
FOLDERS = 1 << 16  # of pictures, whose links are kept


class Entry(BaseModel):
    """One source as mix.yaml names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = Field(description="What the records are; decides which stages learn from them")
    path: Path = Field(description="A file, a folder or a pattern of files, relative to mix.yaml")
    media: Path | None = Field(None, description="Folder of the media files; default: that of `path`")
    format: str = Field("auto", description="How the records are stored; default: found out")
    weight: float = Field(1.0, gt=0, le=100, description="2 sees each record twice an epoch, 0.5 half of the records")
    name: str = Field("", description="What tables call the source; default: the name of its file or folder")

    @field_validator("path", mode="before")
    @classmethod
    def _check_path(cls, path: Any) -> Any:
        if path == "":  # would be the folder of mix.yaml
            raise ValueError("is empty; name a file or a folder, `.` for the folder of mix.yaml")
        return path

    @model_validator(mode="after")
    def _check_format(self) -> Entry:
        if self.format not in (known := FORMATS[self.kind in SPEECH]):
            raise ValueError(f"no format {self.format!r} of {self.kind}; there are: {', '.join(known)}")
        return self


class MixFile(BaseModel):
    """All of mix.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[Entry, ...] = Field(description="What can be learned from")


@dataclass(frozen=True)
class MixSource:
    """A source of the mix, open."""

    name: str  # of its own in the mix
    kind: str  # a `Kind`, or `RECORDS`
    source: Source[Sample] | Source[Utterance]
    weight: float = 1.0
    folder: Path = Path()  # of mix.yaml
    media: Path = Path()  # folder that its pictures' paths start from

    def group(self, index: int) -> str:
        """What must not be both learned from and held out: a file is the same in all sources of the mix, from whichever
        folder, and through whichever linked folder, they name it. Raises `RecordError`."""
        group = self.source.group(index)
        if not group or CONTENT.fullmatch(group):
            return group
        if self.kind in SPEECH and not group.startswith(self._files):
            return group  # a speaker
        name = group.rpartition("/")[2]
        return relative(group[: len(group) - len(name)], self._media, self._folder) + name

    @cached_property
    def _files(self) -> tuple[str, str]:
        """What the path of a recording begins with."""
        return "/", os.path.join("" if self.media == Path() else self.media, "")

    @cached_property
    def _folder(self) -> str:
        return str(self.folder.absolute())

    @cached_property
    def _media(self) -> str:
        """The folder that groups which are paths start from; speech sources have put theirs in front."""
        return str(Path.cwd() if self.kind in SPEECH else self.media.absolute())


@lru_cache(maxsize=FOLDERS)
def relative(folder: str, parent: str, start: str) -> str:
    """`folder`, under `parent` or absolute, as seen from `start`, links followed; it ends with "/", or is ""."""
    path = os.path.relpath(os.path.realpath(os.path.join(parent, folder)), os.path.realpath(start))
    return "" if path == "." else f"{path}/"


@dataclass(frozen=True)
class Mix:
    """The user's data."""

    path: Path  # of mix.yaml, or of the plain records
    sources: tuple[MixSource, ...]

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal; another one where any record, kind, name or weight is another."""
        said = [(mixed.name, mixed.kind, mixed.weight, mixed.source.fingerprint) for mixed in self.sources]
        return blake2b(repr(said).encode(), digest_size=16).hexdigest()

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(mixed.kind for mixed in self.sources))


def read_mix(path: str | Path, plain: str = RECORDS) -> Mix:
    """Opens the sources of mix.yaml, or the one of a plain file or folder of records, whose kind is then `plain`.

    Raises `ValueError` in one line: what is wrong with which source, and what would be right.
    """
    path = Path(path)
    if path.suffix not in MIX_SUFFIXES:
        entry = Entry.model_construct(kind=plain, path=Path(path.name), media=None, format="auto", weight=1.0)
        return Mix(path, (_mixed_source(path.parent, entry, path.stem),))
    entries = parse(path).sources
    names = _names(entries, path)
    return Mix(path, tuple(_mixed(path, number, entry, names[number - 1]) for number, entry in enumerate(entries, 1)))


def parse(path: Path) -> MixFile:
    """What mix.yaml says, checked. Raises `ValueError`."""
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(said, dict) or not isinstance(said.get("sources"), list) or not said["sources"]:
        raise ValueError(f"{path} has no list `sources:`; each of its entries has at least `kind:` and `path:`")
    try:
        return MixFile.model_validate(said)
    except ValidationError as error:
        raise ValueError(f"{path}: {_told(error.errors()[0])}") from None


def _told(error: dict[str, Any]) -> str:
    """The first mistake, as a user can mend it."""
    place = [step for step in error["loc"] if step != "sources"]
    number = f"source {place[0] + 1}: " if place and isinstance(place[0], int) else ""
    field = str(place[-1]) if place and isinstance(place[-1], str) else ""
    match error["type"]:
        case "literal_error":
            return f"{number}no {field} {error['input']!r}; there are: {error['ctx']['expected'].replace(' or ', ', ')}"
        case "missing":
            return f"{number}{field} is missing: {Entry.model_fields[field].description}"
        case "extra_forbidden":
            known = Entry.model_fields if number else MixFile.model_fields
            return f"{number}no field {field!r}; there are: {', '.join(known)}"
        case "path_type" | "string_type":
            return f"{number}{field} must be text, not {error['input']!r}: {Entry.model_fields[field].description}"
        case "model_type":
            return f"{number}each source has at least `kind:` and `path:`; this one is {error['input']!r}"
    said = error["msg"].removeprefix("Value error, ")
    return f"{number}{field}: {said}" if field else f"{number}{said}"


def _names(entries: tuple[Entry, ...], path: Path) -> list[str]:
    """A name of its own for every source: the given one, else that of the file, with a number where it is taken."""
    given = [entry.name for entry in entries if entry.name]
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise ValueError(f"{path}: two sources are called {twice[0]!r}; each needs a name of its own")
    names: list[str] = []
    for entry in entries:
        name, number = entry.name or entry.path.stem, 1
        while not entry.name and name in (*given, *names):
            number += 1
            name = f"{entry.path.stem}-{number}"
        names.append(name)
    return names


def _mixed(path: Path, number: int, entry: Entry, name: str) -> MixSource:
    try:
        return _mixed_source(path.parent, entry, name)
    except ValueError as error:
        raise ValueError(f"{path}: source {number} ({name}): {error}") from None


def _mixed_source(folder: Path, entry: Entry, name: str) -> MixSource:
    path, media = folder / entry.path, None if entry.media is None else folder / entry.media
    opened = (open_speech if entry.kind in SPEECH else open_dialogues)(path, media=media, format=entry.format)
    return MixSource(name, entry.kind, opened, entry.weight, folder, media or (path if path.is_dir() else path.parent))
