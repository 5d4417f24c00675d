"""Refuses, before anything is loaded, a stage whose weights alone are too large for the GPUs that there are."""

from __future__ import annotations

import torch

from parley.config import ParleyConfig
from training.distributed.process_group import world_size
from training.lora import LoraOptions
from training.recipe import Schedule, Stage
from training.resources.estimate import GB, Cluster, Planner


def check_memory(stage: Stage, schedule: Schedule, config: ParleyConfig, lora: LoraOptions | None) -> None:
    """Raises `ValueError` in one line that says what would fit.

    Only what is certain is compared: weights, gradients and moments. What the activations take depends on the data.
    """
    available = gpu_memory()
    if available is None:
        return
    planner = Planner.of(config, lora)
    memory = planner.memory(stage, schedule, world_size())
    needed = memory.state + memory.frozen + memory.gathered
    if needed > available:
        cluster = Cluster(gpus=world_size(), gpu_memory=available / GB)
        raise ValueError(
            f"stage {stage.name} needs {needed / GB:.1f} GB of each GPU for weights, gradients and moments alone, and "
            f"this one has {available / GB:.1f}; {planner.advice(stage, schedule, cluster)}"
        )


def gpu_memory() -> int | None:
    """Bytes of a GPU of this machine; None where there is none."""
    if not torch.cuda.is_available():
        return None
    return min(torch.cuda.get_device_properties(number).total_memory for number in range(torch.cuda.device_count()))
