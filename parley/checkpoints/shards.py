"""Writes a part's tensors, in any order, into one safetensors file or into several of a bounded size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from parley.checkpoints.manifest import FileRef, ShardedRef, ShardRef
from parley.checkpoints.tensor_file import TensorWriter, sha256

Specs = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]  # tensor name → dtype and shape


class PartWriter:
    """Announce all tensors, then `write` each once, then `close`."""

    def __init__(self, folder: Path, part: str, specs: Specs, max_shard_bytes: int) -> None:
        self._shards = split(specs, max_shard_bytes)
        count = len(self._shards)
        names = [f"-{number:05}-of-{count:05}" for number in range(1, count + 1)] if count > 1 else [""]
        self._paths = [folder / f"{part}{name}.safetensors" for name in names]
        self._writers = [
            TensorWriter(path, {name: specs[name] for name in shard})
            for path, shard in zip(self._paths, self._shards, strict=True)
        ]
        self._writer_of = {
            name: writer for writer, shard in zip(self._writers, self._shards, strict=True) for name in shard
        }

    def write(self, name: str, tensor: Tensor) -> None:
        """Writes a tensor to its place, cast to the announced dtype."""
        self._writer_of[name].write(name, tensor)

    def close(self, stage: str) -> FileRef | ShardedRef:
        """Ends the files, safe on the disk. Returns what a manifest says of them."""
        for writer in self._writers:
            writer.close()
        refs = [file_ref(path, stage) for path in self._paths]
        if len(refs) == 1:
            return refs[0]
        shards = [
            ShardRef(**ref.model_dump(), tensors=tuple(sorted(shard)))
            for ref, shard in zip(refs, self._shards, strict=True)
        ]
        return ShardedRef(stage=stage, shards=tuple(shards))

    def abandon(self) -> None:
        """Closes the unfinished files; the caller removes them."""
        for writer in self._writers:
            writer.abandon()


def split(specs: Specs, max_shard_bytes: int) -> list[list[str]]:
    """Tensor names in order, in groups of at most `max_shard_bytes`; a larger tensor has a group of its own."""
    shards: list[list[str]] = [[]]
    used = 0
    for name, (dtype, shape) in specs.items():
        size = dtype.itemsize * torch.Size(shape).numel()
        if shards[-1] and used + size > max_shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += size
    return shards


def file_ref(path: Path, stage: str) -> FileRef:
    """What a manifest in the same folder says of a file."""
    return FileRef(file=path.name, sha256=sha256(path), bytes=path.stat().st_size, stage=stage)
