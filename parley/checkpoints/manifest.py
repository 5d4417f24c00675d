"""`manifest.json`: which files hold the newest weights of every part, and where a checkpoint comes from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from parley.config import PARTS, ParleyConfig

FORMAT = 1
MANIFEST = "manifest.json"


class CheckpointError(ValueError):
    """A checkpoint cannot be read or does not fit; the message says why in one line."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRef(_Model):
    """A file of a checkpoint; as an entry of `Manifest.parts`, the one file that holds the whole part."""

    file: str  # relative to the checkpoint's folder
    sha256: str
    bytes: int
    stage: str  # that wrote it

    @property
    def files(self) -> tuple[FileRef, ...]:
        return (self,)

    def file_of(self, tensor: str) -> FileRef:
        """The file that holds a tensor."""
        return self

    def moved(self, old: Path, new: Path) -> FileRef:
        """The same file, seen from folder `new` instead of `old`."""
        file = os.path.relpath(os.path.normpath(old / self.file), new)
        return self.model_copy(update={"file": file})


class ShardRef(FileRef):
    """One of the files that hold a part together."""

    tensors: tuple[str, ...]  # the tensors in this file


class ShardedRef(_Model):
    """A part in several files, each with the names of its tensors."""

    stage: str
    shards: tuple[ShardRef, ...]

    @property
    def files(self) -> tuple[ShardRef, ...]:
        return self.shards

    def file_of(self, tensor: str) -> ShardRef | None:
        """The file that holds a tensor, None if none does."""
        return next((shard for shard in self.shards if tensor in shard.tensors), None)

    def moved(self, old: Path, new: Path) -> ShardedRef:
        """The same files, seen from folder `new` instead of `old`."""
        return self.model_copy(update={"shards": tuple(shard.moved(old, new) for shard in self.shards)})


class Manifest(_Model):
    """What a checkpoint is made of and where it comes from."""

    format: int = FORMAT
    stage: str
    parent: str | None = None  # the folder this stage started from, relative
    lineage: list[str] = []  # all stages from the first to this one
    config: ParleyConfig
    parts: dict[str, FileRef | ShardedRef]
    tokenizer: FileRef | None = None
    data: dict[str, Any] = {}  # the mixture with counts
    metrics: dict[str, Any] = {}
    commit: str = ""  # of the code that wrote it
    licence: str = ""  # what the weights allow, where it is not the repository's own licence


def read_bytes(folder: Path) -> bytes:
    """The manifest's bytes. Raises `CheckpointError`."""
    try:
        return (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise CheckpointError(f"no checkpoint in {folder}: cannot read {MANIFEST}: {error.strerror}") from None


def parse(data: bytes, folder: Path) -> Manifest:
    """The manifest in `data`, which was read from `folder`. Raises `CheckpointError`."""
    file = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise CheckpointError(f"{file} is not text") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "the file"
        raise CheckpointError(f"{file} is not a manifest: {where}: {first['msg']}") from None
    if manifest.format != FORMAT:
        raise CheckpointError(f"{file} has format {manifest.format}; this program reads format {FORMAT}")
    if unknown := sorted(set(manifest.parts) - set(PARTS)):
        raise CheckpointError(f"{file} names unknown parts: {', '.join(unknown)}")
    return manifest
