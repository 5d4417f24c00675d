"""Foreign tensors → parts of a checkpoint, file by file, so that a model larger than memory can pass through.

Notable points:
- All headers are read first. Every missing, unexpected and wrongly shaped tensor is named, in the foreign names, in one
  error, before a byte is written.
- Then one foreign file is open at a time, and each tensor goes straight to its place.
- Foreign `.pt` files are opened with `weights_only=True`: they may hold tensors and nothing that runs.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from parley.checkpoints import CheckpointError
from parley.checkpoints.checkpoint import misfits
from parley.checkpoints.tensor_file import DTYPES
from parley.checkpoints.writer import StageWriter
from parley.config import ParleyConfig
from parley.models.parley import build_part

NEVER = r"$^"  # the pattern that nothing matches


class Place(NamedTuple):
    """Where a tensor of ours comes from: a foreign key, or the n-th third of its rows where three are fused in one."""

    key: str
    third: int | None = None


Naming = Callable[[str], Place]  # our name in a part → where it comes from


@dataclass(frozen=True)
class Shard:
    """One foreign file: its tensors' shapes and types, known without reading them."""

    path: Path
    tensors: dict[str, tuple[torch.dtype, tuple[int, ...]]]
    read: Callable[[], Iterator[tuple[str, Tensor]]]


def safetensors_shards(folder: Path) -> list[Shard]:
    """The files of a Hugging Face folder: those its index names, or `model.safetensors`. Raises `CheckpointError`."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = read_json(index).get("weight_map")
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise CheckpointError(f"{index} has no weight_map")
        files = [folder / Path(name).name for name in sorted(set(names.values()))]
    else:
        files = [folder / "model.safetensors"]
    if missing := [file.name for file in files if not file.is_file()]:
        raise CheckpointError(f"{folder} lacks {', '.join(missing)}")
    return [safetensors_shard(file) for file in files]


def safetensors_shard(file: Path) -> Shard:
    """A safetensors file. Raises `CheckpointError` if it is cut short or something else."""

    def read() -> Iterator[tuple[str, Tensor]]:
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 (not a dict)
                yield key, tensors.get_tensor(key)

    try:
        with safe_open(file, "pt") as tensors:
            heads = {key: tensors.get_slice(key) for key in tensors.keys()}  # noqa: SIM118
            shapes = {key: (_DTYPES[head.get_dtype()], tuple(head.get_shape())) for key, head in heads.items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from None
    except KeyError as error:
        raise CheckpointError(f"{file} holds tensors of type {error}, which no part has") from None
    return Shard(file, shapes, read)


def pickle_shard(file: Path, prefix: str = "") -> Shard:
    """A `.pt` file of tensors in (nested) dicts, its keys joined by dots behind `prefix`. Raises `CheckpointError`."""
    content = load_pickle(file)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{file} holds no dict of tensors")
    tensors = dict(_flatten(content, prefix))
    shapes = {key: (tensor.dtype, tuple(tensor.shape)) for key, tensor in tensors.items()}
    return Shard(file, shapes, lambda: iter(tensors.items()))


def load_pickle(file: Path) -> Any:
    """What a `.pt` file holds, if that is tensors and plain containers. Raises `CheckpointError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error says what is wrong with the file
            try:
                return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError as error:
                if "mmap" not in str(error):
                    raise
                # Files from before PyTorch 1.6 cannot be mapped.
                return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it carries code, {code[1]}" if code else "it is not a file of tensors alone"
        raise CheckpointError(f"{file} is refused: {reason}") from None
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}") from None
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, AssertionError) as error:
        # Bytes that only look like a pickle break the reader anywhere.
        raise CheckpointError(f"{file} cannot be read: {_first_line(error)}") from None


class Transfer:
    """Parts that come from foreign files, in the types they have there. Made, it is known to fit; `write` does it."""

    def __init__(
        self,
        config: ParleyConfig,
        parts: Mapping[str, Naming],
        shards: list[Shard],
        given: Mapping[str, Mapping[str, Tensor]] | None = None,
        ignored: str = NEVER,
    ) -> None:
        """
        Args:
            parts: for each part, how its tensors are named there.
            given: tensors of a part that come from elsewhere.
            ignored: pattern of foreign keys that no part needs.

        Raises one `CheckpointError` that names all foreign tensors that are missing, unexpected or of another shape,
        or all that are in more than one file.
        """
        self.shards = shards
        self.given = {part: dict((given or {}).get(part, {})) for part in parts}
        self.goals: dict[str, list[tuple[str, str, int | None]]] = {}  # foreign key → [(part, our name, third)]
        found = {key: head for shard in shards for key, head in shard.tensors.items()}
        expected: dict[str, tuple[int, ...]] = {}
        for part, naming in parts.items():
            for name, shape in part_shapes(part, config).items():
                if name in self.given[part]:
                    continue
                place = naming(name)
                self.goals.setdefault(place.key, []).append((part, name, place.third))
                expected[place.key] = shape if place.third is None else (3 * shape[0], *shape[1:])
        check_keys(expected, {key: shape for key, (_, shape) in found.items()}, ignored)
        check_once(expected, shards)

        self.specs: dict[str, dict[str, tuple[torch.dtype, tuple[int, ...]]]] = {
            part: {name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()}
            for part, tensors in self.given.items()
        }
        for key, places in self.goals.items():
            dtype, shape = found[key]
            for part, name, third in places:
                self.specs[part][name] = (dtype, shape if third is None else (shape[0] // 3, *shape[1:]))

    def write(self, writer: StageWriter, stage: str) -> None:
        """Writes the parts into a checkpoint in the making, with one foreign file open at a time."""
        with contextlib.ExitStack() as stack:
            files = {part: stack.enter_context(writer.tensors(part, stage, spec)) for part, spec in self.specs.items()}
            for part, tensors in self.given.items():
                for name, tensor in tensors.items():
                    files[part].write(name, tensor)
            for shard in self.shards:
                for key, tensor in shard.read():
                    for part, name, third in self.goals.get(key, ()):
                        files[part].write(name, tensor if third is None else tensor.chunk(3)[third])


def part_shapes(part: str, config: ParleyConfig) -> dict[str, tuple[int, ...]]:
    """The tensors a part of this config is stored as, without making it."""
    with torch.device("meta"):
        state = build_part(part, config).state_dict()
    if part == "language" and config.language.tie_word_embeddings:
        del state["lm_head.weight"]
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def check_keys(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], ignored: str = NEVER
) -> None:
    """Raises one `CheckpointError` that names all foreign tensors that are missing, unexpected or of another shape."""
    known = {key: shape for key, shape in found.items() if key in expected or not re.search(ignored, key)}
    if wrong := misfits(expected, known):
        raise CheckpointError(f"{len(wrong)} tensors do not fit: {'; '.join(wrong)}")


def check_once(expected: Collection[str], shards: list[Shard]) -> None:
    """Raises one `CheckpointError` that names all tensors that several files hold: it is not known which is meant."""
    files: dict[str, list[str]] = {}
    for shard in shards:
        for key in shard.tensors.keys() & expected:
            files.setdefault(key, []).append(shard.path.name)
    if twice := [f"{key} in {', '.join(names)}" for key, names in sorted(files.items()) if len(names) > 1]:
        raise CheckpointError(f"{len(twice)} tensors are in more than one file: {'; '.join(twice)}")


def read_json(file: Path) -> Any:
    """A JSON file. Raises `CheckpointError` if it is missing or something else."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:
        raise CheckpointError(f"{file} is not JSON: {error}") from None


class Settings:
    """Foreign settings, read field by field: what is missing or of another kind is named with its file."""

    def __init__(self, values: Any, file: Path, where: str = "") -> None:
        if not isinstance(values, Mapping):
            raise CheckpointError(f"{file}{where and f' ({where})'} holds no settings")
        self.values, self.file, self.where = values, file, where

    def get(self, name: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        """The field, if it is of that kind. Raises `CheckpointError`."""
        value = self.values.get(name, default)
        label = f"{self.where}.{name}" if self.where else name
        if value is ...:
            raise CheckpointError(f"{self.file} lacks {label}")
        is_kind = isinstance(value, kind) and not (isinstance(value, bool) and kind in (int, (int, float)))
        if value is not default and not is_kind:
            raise CheckpointError(f"{self.file}: {label} is {value!r}, which is not what it should be")
        return value

    def only(self, name: str, *allowed: Any) -> None:
        """Refuses a field whose value our networks do not compute; the first one allowed is the default."""
        value = self.values.get(name, allowed[0])
        if value not in allowed:
            label = f"{self.where}.{name}" if self.where else name
            choices = " or ".join(repr(choice) for choice in allowed)
            raise CheckpointError(f"{self.file}: {label} is {value!r}; only {choices} is known here")

    def inside(self, name: str) -> Settings:
        """The settings within a field."""
        return Settings(self.get(name, Mapping), self.file, f"{self.where}.{name}" if self.where else name)


@contextlib.contextmanager
def config_errors(folder: Path) -> Iterator[None]:
    """Turns the complaints of our own config and networks about foreign sizes into one line."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise CheckpointError(f"{folder}: {where}: {first['msg']}") from None
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}") from None


def _flatten(content: Mapping, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, Tensor):
            yield f"{prefix}{key}", value


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


_DTYPES = {name: dtype for dtype, name in DTYPES.items()}
