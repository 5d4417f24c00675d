"""The file from which an interrupted stage continues: one safetensors file, replaced atomically."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

RESUME_FILE = "resume.safetensors"


def write_resume_file(folder: Path, tensors: dict[str, Tensor], facts: dict[str, object]) -> None:
    """Writes tensors and facts. A kill at any moment leaves the previous file or the new one."""
    temporary = folder / (RESUME_FILE + ".part")
    copies = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
    save_file(copies, temporary, {key: str(value) for key, value in facts.items()})
    with temporary.open("rb") as file:
        os.fsync(file.fileno())  # without it a power cut could leave an empty file
    temporary.replace(folder / RESUME_FILE)


def read_resume_file(folder: Path, device: torch.device, stage: str, seed: int) -> tuple[dict[str, Tensor], dict]:
    """The tensors, on `device`, and the facts as strings.

    Raises `ValueError` if the file belongs to another stage or seed.
    """
    path = folder / RESUME_FILE
    with safe_open(path, "pt", device=str(device)) as file:
        facts = file.metadata()
        if (facts["stage"], facts["seed"]) != (stage, str(seed)):
            raise ValueError(
                f"{path} is of stage {facts['stage']}, seed {facts['seed']}; this is stage {stage}, seed {seed}"
            )
        return {key: file.get_tensor(key) for key in file.keys()}, facts  # noqa: SIM118 (not a dict)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments under `INDEX.NAME`, where INDEX counts the parameters of all groups."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {f"{i}.{key}": value for i, p in enumerate(parameters) for key, value in optimizer.state.get(p, {}).items()}


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        index, key = name.split(".")
        optimizer.state[parameters[int(index)]][key] = tensor


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, `prefix.` in front of their names."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `with_prefix`: the tensors whose names begin with `prefix.`, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
