"""Writes checkpoints: the parts that a stage trained, references to its ancestors' files for the rest, one manifest.

Writing is atomic: the folder is made beside its place and renamed into it, so a killed job leaves the last good one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from parley.checkpoints.checkpoint import Checkpoint
from parley.checkpoints.manifest import MANIFEST, CheckpointError, FileRef, Manifest, ShardedRef
from parley.checkpoints.shards import PartWriter, Specs, file_ref
from parley.config import PARTS, ParleyConfig

TOKENIZER = "tokenizer.json"
MAX_SHARD_BYTES = 5 * 10**9  # as on the Hugging Face hub


Source = str | Path | Checkpoint  # a checkpoint's folder, or the checkpoint as it was opened


class StageWriter:
    """A checkpoint folder that is being written, beside its place. When the `with` block ends it appears there whole;
    if the block raises, nothing is left."""

    def __init__(
        self,
        path: str | Path,
        *,
        parent: Source | None = None,
        others: Sequence[Source] = (),
        max_shard_bytes: int = MAX_SHARD_BYTES,
    ) -> None:
        """
        Args:
            parent: the checkpoint the stage started from; parts it has and this one does not write carry over. Give it
                opened where its parts were read before, so that all of it is of one reading.
            others: further checkpoints whose parts carry over; where two have a part, the parent's goes first.
            max_shard_bytes: a larger part is written in several files.
        """
        self.path = Path(path).absolute()
        sources = [source for source in (parent, *others) if source is not None]
        folders = [Path(source.path if isinstance(source, Checkpoint) else source).absolute() for source in sources]
        if self.path in folders:
            raise ValueError(f"{path} cannot be its own parent")
        self.sources = [  # the parent first
            source if isinstance(source, Checkpoint) else Checkpoint.open(folder)
            for source, folder in zip(sources, folders, strict=True)
        ]
        self.max_shard_bytes = max_shard_bytes
        self.parts: dict[str, FileRef | ShardedRef] = {}
        self.tokenizer: FileRef | None = None

    def __enter__(self) -> StageWriter:
        if self.path.exists() and not _replaceable(self.path):
            raise CheckpointError(f"{self.path} is there already and is no checkpoint; it is left as it is")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        self.folder = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", suffix=".tmp", dir=self.path.parent))
        self.folder.chmod(0o755)
        self._lock = os.open(self.folder, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(self, kind, *_) -> None:
        os.close(self._lock)
        if self.folder.exists():  # else `finish` has moved it away
            shutil.rmtree(self.folder)

    def _remove_leftovers(self) -> None:
        """Removes folders that a killed writer left: no process holds their lock any more."""
        for folder in self.path.parent.glob(f".{self.path.name}.*.tmp"):
            with contextlib.suppress(OSError):
                handle = os.open(folder, os.O_RDONLY)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
                finally:
                    os.close(handle)

    @contextlib.contextmanager
    def tensors(self, part: str, stage: str, specs: Specs) -> Iterator[PartWriter]:
        """The writer of a part, tensor by tensor."""
        assert part in PARTS, part
        writer = PartWriter(self.folder, part, specs, self.max_shard_bytes)
        try:
            yield writer
        except BaseException:
            writer.abandon()
            raise
        self.parts[part] = writer.close(stage)

    def add_part(self, part: str, stage: str, state: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
        """Writes a part from its state dict; `dtype` as in `save_stage`."""
        specs = {name: (_stored_dtype(tensor, dtype), tuple(tensor.shape)) for name, tensor in state.items()}
        with self.tensors(part, stage, specs) as writer:
            for name, tensor in state.items():
                writer.write(name, tensor)

    def add_tokenizer(self, tokenizer: Tokenizer, stage: str) -> None:
        file = self.folder / TOKENIZER
        file.write_text(tokenizer.to_str(), encoding="utf-8")
        self.tokenizer = file_ref(file, stage)

    def finish(self, *, stage: str, config: ParleyConfig, **facts: Any) -> Manifest:
        """Writes the manifest and moves the folder into place. `facts` are further fields of the manifest."""
        for source in self.sources:
            self._carry_over(source)
        manifest = Manifest(
            stage=stage,
            parent=os.path.relpath(self.sources[0].path, self.path) if self.sources else None,
            config=config,
            tokenizer=self.tokenizer,
            parts={part: self.parts[part] for part in PARTS if part in self.parts},
            **({"lineage": self._lineage(stage), "licence": self._licence()} | facts),
        )
        (self.folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        for file in self.folder.iterdir():
            _sync(file)
        _sync(self.folder)
        _move_into_place(self.folder, self.path)
        return manifest

    def _carry_over(self, source: Checkpoint) -> None:
        """Refers to the files of parts, and of a tokenizer, that are not here yet."""
        for part, ref in source.manifest.parts.items():
            self.parts.setdefault(part, ref.moved(source.path, self.path))
        if self.tokenizer is None and source.manifest.tokenizer is not None:
            self.tokenizer = source.manifest.tokenizer.moved(source.path, self.path)

    def _lineage(self, stage: str) -> list[str]:
        names = [name for source in self.sources for name in source.manifest.lineage]
        return [*dict.fromkeys(names), stage]

    def _licence(self) -> str:
        """The terms of all sources: what comes from weights with terms of their own stays under them."""
        return "; ".join(dict.fromkeys(filter(None, (source.manifest.licence for source in self.sources))))


def save_stage(
    path: str | Path,
    *,
    stage: str,
    config: ParleyConfig,
    parts: Mapping[str, Mapping[str, Tensor]],
    parent: Source | None = None,
    others: Sequence[Source] = (),
    tokenizer: Tokenizer | None = None,
    data: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    commit: str = "",
    licence: str | None = None,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> Manifest:
    """Writes the checkpoint of a stage: the parts it trained, and references to its parent's for the rest.

    Args:
        path: the folder; a checkpoint that is there already is replaced, at once.
        parts: state dicts by part. A tied output table is left out.
        parent: the checkpoint the stage started from; its other parts, tokenizer and licence carry over.
        others: further checkpoints it started from; parts the parent lacks and licences carry over.
        dtype: of floating-point tensors in the files, None for as they are. A tensor whose values it cannot hold
            keeps its own.
        max_shard_bytes: a larger part is written in several files.
    """
    with StageWriter(path, parent=parent, others=others, max_shard_bytes=max_shard_bytes) as writer:
        for part, state in parts.items():
            if part == "language" and config.language.tie_word_embeddings:
                state = {name: tensor for name, tensor in state.items() if name != "lm_head.weight"}
            writer.add_part(part, stage, state, dtype)
        if tokenizer is not None:
            writer.add_tokenizer(tokenizer, stage)
        facts = {} if licence is None else {"licence": licence}
        return writer.finish(stage=stage, config=config, data=data or {}, metrics=metrics or {}, commit=commit, **facts)


def export(
    path: str | Path,
    out: str | Path,
    dtype: torch.dtype | None = torch.float16,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> Manifest:
    """Copies a checkpoint with all it refers to into one folder that stands alone. Raises `CheckpointError`.

    One tensor at a time is in memory; `dtype` and `max_shard_bytes` as in `save_stage`.
    """
    checkpoint = Checkpoint.open(path)
    manifest = checkpoint.manifest
    with StageWriter(out, max_shard_bytes=max_shard_bytes) as writer:
        for part, ref in manifest.parts.items():
            specs = {
                name: (_stored_dtype(tensor, dtype), tuple(tensor.shape)) for name, tensor in checkpoint.tensors(part)
            }
            with writer.tensors(part, ref.stage, specs) as file:
                for name, tensor in checkpoint.tensors(part):
                    file.write(name, tensor)
        if (tokenizer := checkpoint.tokenizer()) is not None:
            writer.add_tokenizer(tokenizer, manifest.tokenizer.stage)
        kept = manifest.model_dump(exclude={"stage", "config", "parts", "tokenizer", "parent"})
        return writer.finish(stage=manifest.stage, config=manifest.config, **kept)


def _replaceable(path: Path) -> bool:
    """Whether a new checkpoint may take this place: an older one, or an empty folder."""
    return path.is_dir() and ((path / MANIFEST).exists() or not any(path.iterdir()))


def _stored_dtype(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    if dtype is None or not tensor.is_floating_point() or tensor.numel() == 0:
        return tensor.dtype
    return dtype if tensor.abs().max() <= torch.finfo(dtype).max else tensor.dtype


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _move_into_place(folder: Path, path: Path) -> None:
    """Puts `folder` at `path`; what was there is removed afterwards, so that at no moment nothing is there."""
    if not path.exists():
        folder.rename(path)
    elif _exchange(folder, path):
        shutil.rmtree(folder)
    else:
        # A file system without the exchange: for a moment the old one is only beside its place.
        old = folder.with_suffix(".old")
        path.rename(old)
        folder.rename(path)
        shutil.rmtree(old)
    _sync(path.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two paths in one step, where kernel and file system can (Linux `renameat2`)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
