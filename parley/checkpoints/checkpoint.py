"""A checkpoint opened once: parts, tensors, tokenizer and fingerprint, all from one reading of its manifest.

Notable points:
- `manifest.json` names the files of every part, the stage's own or an ancestor's, by paths relative to the folder.
  A run is a family of folders that can be moved or copied together.
- The size and SHA-256 of a file are checked, through the handle that it is then read from, before any tensor is used.
  So a folder that is replaced between two reads cannot mix two checkpoints: the second read raises `CheckpointError`.
- Only the parts that are asked for are read; the files of the others need not be there.
- Only safetensors: nothing in a checkpoint can run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor

from parley.checkpoints import manifest as manifests
from parley.checkpoints.manifest import CheckpointError, FileRef, Manifest, ShardedRef
from parley.config import ParleyConfig


class Checkpoint:
    """A checkpoint folder. `open` makes one; every method uses the manifest as it was read then."""

    def __init__(self, path: Path, manifest: Manifest, fingerprint: str) -> None:
        self.path = path
        self.manifest = manifest
        self.fingerprint = fingerprint  # 16 hex digits, the same for every copy of the folder: the name of the weights

    @classmethod
    def open(cls, path: str | Path) -> Checkpoint:
        """Reads the manifest of a folder. Raises `CheckpointError`."""
        folder = Path(path)
        data = manifests.read_bytes(folder)
        return cls(folder, manifests.parse(data, folder), _fingerprint(data))

    @property
    def config(self) -> ParleyConfig:
        return self.manifest.config

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts it has."""
        return tuple(self.manifest.parts)

    def state_dict(
        self, part: str, device: str | torch.device = "cpu", dtype: torch.dtype | None = None, *, mapped: bool = False
    ) -> dict[str, Tensor]:
        """A part's tensors by name. Raises `CheckpointError`.

        Args:
            dtype: of the floating-point tensors, None for as they are stored.
            mapped: leave tensors that keep their type in the file, which the system reads when they are used: processes
                that read the same part share its memory. Writing to one changes the file of none.
        """
        # Cloned, so that nothing depends on the file once it is read.
        found = ((name, _cast(tensor, dtype)) for name, tensor in self.tensors(part, device))
        return {name: tensor if mapped else tensor.clone() for name, tensor in found}

    def tensors(self, part: str, device: str | torch.device = "cpu") -> Iterator[tuple[str, Tensor]]:
        """A part's tensors as stored, one at a time, so that a part larger than memory can be copied.

        A tensor is valid until the next one. Raises `CheckpointError`.
        """
        for ref in self._part(part).files:
            with self._reader(ref, part, device) as reader:
                for name in reader.keys():  # noqa: SIM118 (not a dict)
                    yield name, reader.get_tensor(name)

    def tensor(self, part: str, key: str) -> Tensor:
        """One tensor of a part, as stored; the rest is not read into memory. Raises `CheckpointError`."""
        ref = self._part(part).file_of(key)
        if ref is None:
            raise CheckpointError(f"{part}: cannot read {key}: none of its files has it")
        try:
            with self._reader(ref, part) as reader:
                return reader.get_tensor(key).clone()
        except SafetensorError as error:
            raise CheckpointError(f"{part}: cannot read {key}: {error}") from None

    def files(self, part: str) -> Iterator[Path]:
        """A part's safetensors files, each after its size and hash were checked, for a reader of another library.

        Raises `CheckpointError`.
        """
        for ref in self._part(part).files:
            with self._checked(ref, part) as file:
                yield Path(file.name)

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer, None if it has none. Raises `CheckpointError` if the file is damaged."""
        ref = self.manifest.tokenizer
        if ref is None:
            return None
        with self._checked(ref, "tokenizer") as file:
            try:
                return Tokenizer.from_buffer(file.read())
            except Exception as error:  # the library raises bare `Exception`
                raise CheckpointError(f"tokenizer: {ref.file} cannot be read: {error}") from None

    def _part(self, part: str) -> FileRef | ShardedRef:
        if part not in self.manifest.parts:
            raise CheckpointError(f"{self.path} has no {part}; it has: {', '.join(self.parts)}")
        return self.manifest.parts[part]

    @contextlib.contextmanager
    def _reader(self, ref: FileRef, part: str, device: str | torch.device = "cpu") -> Iterator[Any]:
        """The library's reader of a safetensors file of a part, checked."""
        with self._checked(ref, part) as file:
            try:
                # Not by its name, which may lead to another file by now.
                reader = safe_open(f"/dev/fd/{file.fileno()}", "pt", device=str(device))
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{part}: {ref.file} cannot be read: {error}") from None
            with reader:
                yield reader

    @contextlib.contextmanager
    def _checked(self, ref: FileRef, what: str) -> Iterator[BinaryIO]:
        """The open file of a reference, after its size and hash were checked."""
        if os.path.isabs(ref.file):
            raise CheckpointError(f"{what}: {ref.file} is not relative to {self.path}")
        path = Path(os.path.normpath(self.path.absolute() / ref.file))
        try:
            file = open(path, "rb")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise CheckpointError(f"{what}: {path} of stage {ref.stage}: {error.strerror}{self._reason()}") from None
        with file:
            size = os.fstat(file.fileno()).st_size
            if size != ref.bytes:
                raise CheckpointError(f"{what}: {path} has {size} bytes, not {ref.bytes}{self._reason()}")
            if hashlib.file_digest(file, "sha256").hexdigest() != ref.sha256:
                raise CheckpointError(f"{what}: {path} does not have the hash in the manifest{self._reason()}")
            file.seek(0)
            yield file

    def _reason(self) -> str:
        """Why a file may differ from the manifest, as the end of a message."""
        try:
            now = _fingerprint(manifests.read_bytes(self.path))
        except CheckpointError:
            now = ""
        if now == self.fingerprint:
            return ": it is damaged or belongs to another run"
        return f": {self.path} was replaced while it was read; open it again"


def misfits(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Every missing, every unexpected and every wrongly shaped tensor, a phrase each. Takes shapes by name."""
    wrong = [f"missing {key}" for key in sorted(set(expected) - set(found))]
    wrong += [f"unexpected {key}" for key in sorted(set(found) - set(expected))]
    wrong += [
        f"{key} is {list(found[key])}, not {list(expected[key])}"
        for key in sorted(set(expected) & set(found))
        if tuple(found[key]) != tuple(expected[key])
    ]
    return wrong


def check_fit(part: str, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> None:
    """Raises one `CheckpointError` that names every tensor that does not fit."""
    if wrong := misfits(expected, found):
        raise CheckpointError(f"{part} does not fit the config: {'; '.join(wrong)}")


def _fingerprint(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
