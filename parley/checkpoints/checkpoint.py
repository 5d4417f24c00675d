"""Staged checkpoints: one folder a stage, one safetensors file for each part it trained, and a manifest.

Notable points:
- `manifest.json` says for every part of the model which file holds its newest weights: the stage's own or an
  ancestor's, by a path relative to the folder. A run is a family of folders that can be moved or copied together;
  `export` makes one folder that stands alone.
- A reader takes only the parts it wants. Size and SHA-256 are checked before a byte of them is used.
- Writing is atomic: the folder is made beside its place and renamed into it. A killed job leaves the last good one.
- Only safetensors: nothing in a checkpoint can run.
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
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor

from parley.checkpoints.tensor_file import TensorWriter, sha256
from parley.config import PARTS, ParleyConfig

FORMAT = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
HALF = torch.float16


class CheckpointError(ValueError):
    """A checkpoint cannot be read or does not fit, and why, in one line."""


class FileRef(BaseModel):
    """A file that belongs to a checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str  # relative to the checkpoint's folder
    sha256: str
    bytes: int
    stage: str  # that wrote it


class Manifest(BaseModel):
    """What a checkpoint is made of and where it comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    stage: str
    parent: str | None = None  # the folder this stage started from, relative
    lineage: list[str] = []  # all stages from the first to this one
    config: ParleyConfig
    parts: dict[str, FileRef]
    tokenizer: FileRef | None = None
    data: dict[str, Any] = {}  # the mixture with counts
    metrics: dict[str, Any] = {}
    commit: str = ""  # of the code that wrote it
    licence: str = ""  # what the weights allow, where it is not the repository's own licence


def read_manifest(path: str | Path) -> Manifest:
    """The manifest of the checkpoint in a folder. Raises `CheckpointError`."""
    file = Path(path) / MANIFEST
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"no checkpoint in {path}: cannot read {MANIFEST}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{file} is not text") from None
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "the file"
        raise CheckpointError(f"{file} is not a manifest: {where}: {first['msg']}") from None
    if manifest.format != FORMAT:
        raise CheckpointError(f"{file} has format {manifest.format}; this program reads format {FORMAT}")
    if unknown := sorted(set(manifest.parts) - set(PARTS)):
        raise CheckpointError(f"{file} names unknown parts: {', '.join(unknown)}")
    return manifest


def part_file(path: str | Path, part: str, verify: bool = True) -> Path:
    """The file that holds a part's newest weights, after its size and (with `verify`) its hash were checked.

    Raises `CheckpointError` naming the part, the file and what is wrong.
    """
    manifest = read_manifest(path)
    if part not in manifest.parts:
        raise CheckpointError(f"{path} has no {part}; it has: {', '.join(manifest.parts)}")
    return _checked(Path(path), manifest.parts[part], part, verify)


def load_part(
    path: str | Path,
    part: str,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """A part's state dict, checked. `dtype` applies to its floating-point tensors; None keeps them as stored."""
    file = part_file(path, part)
    try:
        with safe_open(file, "pt", device=str(device)) as tensors:
            # Cloned, so that nothing depends on the file once it is read.
            return {name: _cast(tensors.get_tensor(name), dtype).clone() for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{part}: {file} cannot be read: {error}") from None


def load_tensor(path: str | Path, part: str, key: str, verify: bool = True) -> Tensor:
    """One tensor of a part, as stored, without reading the rest into memory. Raises `CheckpointError`."""
    file = part_file(path, part, verify)
    try:
        with safe_open(file, "pt") as tensors:
            return tensors.get_tensor(key).clone()
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{part}: cannot read {key} from {file}: {error}") from None


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The checkpoint's tokenizer. Raises `CheckpointError`."""
    manifest = read_manifest(path)
    if manifest.tokenizer is None:
        raise CheckpointError(f"{path} has no tokenizer")
    file = _checked(Path(path), manifest.tokenizer, "tokenizer", verify=True)
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare `Exception`
        raise CheckpointError(f"tokenizer: {file} cannot be read: {error}") from None


def misfits(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Every missing, every unexpected and every wrongly shaped tensor, in words; shapes by name."""
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


class StageWriter:
    """A checkpoint folder in the making, beside its place. Leave the `with` block in peace and it appears there whole;
    leave it by an error and no trace stays."""

    def __init__(
        self, path: str | Path, *, parent: str | Path | None = None, others: Sequence[str | Path] = ()
    ) -> None:
        """`others` are further checkpoints whose parts carry over; where two have a part, the parent's goes first."""
        self.path = Path(path).absolute()
        self.parent = Path(parent).absolute() if parent is not None else None
        self.others = [Path(other).absolute() for other in others]
        if self.path in (self.parent, *self.others):
            raise ValueError(f"{path} cannot be its own parent")
        self.parts: dict[str, FileRef] = {}
        self.tokenizer: FileRef | None = None
        self.inherited = read_manifest(self.parent) if self.parent else None

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
        """Folders that a killed writer left: nobody holds their lock any more."""
        for folder in self.path.parent.glob(f".{self.path.name}.*.tmp"):
            with contextlib.suppress(OSError):
                handle = os.open(folder, os.O_RDONLY)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
                finally:
                    os.close(handle)

    @contextlib.contextmanager
    def tensors(
        self, part: str, stage: str, tensors: dict[str, tuple[torch.dtype, tuple[int, ...]]]
    ) -> Iterator[TensorWriter]:
        """A part's file, written tensor by tensor."""
        assert part in PARTS, part
        file = self.folder / f"{part}.safetensors"
        writer = TensorWriter(file, tensors)
        try:
            yield writer
        except BaseException:
            writer.abandon()
            raise
        writer.close()
        self.parts[part] = FileRef(file=file.name, sha256=sha256(file), bytes=file.stat().st_size, stage=stage)

    def add_part(self, part: str, stage: str, state: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
        """A part's file from its state dict; `dtype` as in `save_stage`."""
        specs = {name: (_stored_dtype(tensor, dtype), tuple(tensor.shape)) for name, tensor in state.items()}
        with self.tensors(part, stage, specs) as writer:
            for name, tensor in state.items():
                writer.write(name, tensor)

    def add_tokenizer(self, tokenizer: Tokenizer, stage: str) -> None:
        file = self.folder / TOKENIZER
        file.write_text(tokenizer.to_str(), encoding="utf-8")
        self.tokenizer = FileRef(file=TOKENIZER, sha256=sha256(file), bytes=file.stat().st_size, stage=stage)

    def finish(self, *, stage: str, config: ParleyConfig, **facts: Any) -> Manifest:
        """Writes the manifest and moves the folder into place. `facts` are further fields of the manifest."""
        parts, tokenizer, parent = dict(self.parts), self.tokenizer, None
        if self.inherited:
            lineage: list[str] = []
            licences: list[str] = []
            for folder in (self.parent, *self.others):
                manifest = read_manifest(folder)
                licences.append(manifest.licence)
                new = manifest.parts.keys() - parts.keys()
                parts |= {name: self._from(folder, manifest.parts[name]) for name in new}
                if tokenizer is None and manifest.tokenizer:
                    tokenizer = self._from(folder, manifest.tokenizer)
                lineage += [name for name in manifest.lineage if name not in lineage]
            facts.setdefault("lineage", [*lineage, stage])
            parent = os.path.relpath(self.parent, self.path)
            # Whatever came from weights with terms of their own stays under them.
            facts.setdefault("licence", "; ".join(dict.fromkeys(filter(None, licences))))
        facts.setdefault("lineage", [stage])
        manifest = Manifest(
            stage=stage, parent=parent, config=config, tokenizer=tokenizer, **facts,
            parts={name: parts[name] for name in PARTS if name in parts},
        )  # fmt: skip
        (self.folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        for file in self.folder.iterdir():
            _sync(file)
        _sync(self.folder)
        _move_into_place(self.folder, self.path)
        return manifest

    def _from(self, folder: Path, ref: FileRef) -> FileRef:
        file = os.path.relpath(os.path.normpath(folder / ref.file), self.path)
        return ref.model_copy(update={"file": file})


def save_stage(
    path: str | Path,
    *,
    stage: str,
    config: ParleyConfig,
    parts: Mapping[str, Mapping[str, Tensor]],
    parent: str | Path | None = None,
    others: Sequence[str | Path] = (),
    tokenizer: Tokenizer | None = None,
    data: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    commit: str = "",
    licence: str | None = None,
    dtype: torch.dtype | None = None,
) -> Manifest:
    """Writes the checkpoint of a stage: the parts it trained, and references to its parent's for the rest.

    Args:
        path: the folder; one that is there already is replaced, at once.
        parts: state dicts by part. A tied output table is left out.
        parent: the checkpoint the stage started from; its other parts, tokenizer and licence carry over.
        others: further checkpoints it started from; parts the parent lacks and licences carry over.
        dtype: of floating-point tensors in the files, None for as they are. A tensor whose values it cannot hold
            keeps its own.
    """
    with StageWriter(path, parent=parent, others=others) as writer:
        for part, state in parts.items():
            if part == "language" and config.language.tie_word_embeddings:
                state = {name: tensor for name, tensor in state.items() if name != "lm_head.weight"}
            writer.add_part(part, stage, state, dtype)
        if tokenizer is not None:
            writer.add_tokenizer(tokenizer, stage)
        facts = {} if licence is None else {"licence": licence}
        return writer.finish(stage=stage, config=config, data=data or {}, metrics=metrics or {}, commit=commit, **facts)


def export(path: str | Path, out: str | Path, dtype: torch.dtype | None = HALF) -> Manifest:
    """Copies a checkpoint with all it refers to into one folder that stands alone. Raises `CheckpointError`."""
    manifest = read_manifest(path)
    with StageWriter(out) as writer:
        for part, ref in manifest.parts.items():
            with safe_open(part_file(path, part), "pt") as tensors:
                names, specs = list(tensors.keys()), {}
                for name in names:
                    tensor = tensors.get_tensor(name)
                    specs[name] = (_stored_dtype(tensor, dtype), tuple(tensor.shape))
                with writer.tensors(part, ref.stage, specs) as file:
                    for name in names:
                        file.write(name, tensors.get_tensor(name))
        if manifest.tokenizer:
            writer.add_tokenizer(load_tokenizer(path), manifest.tokenizer.stage)
        kept = manifest.model_dump(exclude={"stage", "config", "parts", "tokenizer", "parent", "lineage"})
        return writer.finish(stage=manifest.stage, config=manifest.config, lineage=manifest.lineage, **kept)


def _checked(folder: Path, ref: FileRef, what: str, verify: bool) -> Path:
    if os.path.isabs(ref.file):
        raise CheckpointError(f"{what}: {ref.file} is not relative to {folder}")
    file = Path(os.path.normpath(folder.absolute() / ref.file))
    try:
        size = file.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{what}: {file} of stage {ref.stage}: {error.strerror}") from None
    if size != ref.bytes:
        raise CheckpointError(f"{what}: {file} has {size} bytes, not {ref.bytes}: it is damaged or of another run")
    if verify and sha256(file) != ref.sha256:
        raise CheckpointError(f"{what}: {file} has not the hash in the manifest: it is damaged or of another run")
    return file


def _replaceable(path: Path) -> bool:
    """Whether a new checkpoint may take this place: an older one, or an empty folder."""
    return path.is_dir() and ((path / MANIFEST).exists() or not any(path.iterdir()))


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


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
