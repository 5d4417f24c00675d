"""What the saved states of a stage belong to: its recipe, its data, its start. Nothing else may continue them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.lora_options import LoraOptions
from training.recipe import Schedule, Stage
from training.run_folder import IDENTITY_FILE

# What may change when a stage continues: how it is computed, not what.
FREE = ("tokens", "save_every", "validate_every", "epochs", "taught_by")
# What to give as before.
MEANS = {"data": "--data", "start": "--from", "seed": "--seed", "lora": "--lora", "only": "--only"}


def identity(
    stage: Stage, schedule: Schedule, seed: int, data: str, start: list[str], lora: LoraOptions | None = None,
    only: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Of a stage. `data` and `start`: fingerprints of the data, and of the checkpoints that it starts from."""
    row = {name: value for name, value in asdict(schedule).items() if name not in FREE}
    adapters = None if lora is None else lora.model_dump()
    row = json.loads(json.dumps(row))
    facts = {"stage": stage.name, "seed": seed, "data": data, "start": start, "lora": adapters}
    return facts | {"only": sorted(only) or None, "recipe": row}


def check_identity(folder: Path, now: dict[str, Any]) -> None:
    """Raises `ValueError` if the saved states in a work folder belong to something else."""
    file = folder / IDENTITY_FILE
    if not file.exists():
        raise ValueError(f"{file} is missing: it is not known what the saved states belong to; use another --run")
    before = json.loads(file.read_text())
    if differences := _differences(before, now):
        raise ValueError(f"{folder} was begun with {'; '.join(differences)}: give the same again, or use another --run")


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    found = [
        f"another {MEANS.get(name, name)} ({before.get(name)}, now {now[name]})"
        for name in now
        if name != "recipe" and before.get(name) != now[name]
    ]
    old, new = before.get("recipe", {}), now["recipe"]
    return found + [f"{name} {old.get(name)}, now {new[name]}" for name in new if old.get(name) != new[name]]


def write_identity(folder: Path, now: dict[str, Any]) -> None:
    """Into the work folder, at once or not at all."""
    part = folder / (IDENTITY_FILE + ".part")
    part.write_text(json.dumps(now, indent=1) + "\n")
    part.replace(folder / IDENTITY_FILE)
