"""The statistics of batch norms that no stage before has measured.

While a stage is trained its batch norms keep their statistics: measured on each pass, they would depend on how a step
is spread over passes and processes. Fresh ones are measured once, on the first samples.
"""

from __future__ import annotations

import torch
from torch import nn

from training.objectives.objective import Objective
from training.recipe import Stage

SAMPLES = 64


@torch.no_grad()
def measure_batch_norms(objective: Objective, stage: Stage) -> None:
    """Measures the fresh batch norms of the parts that the stage trains; the same in every process."""
    norms = [norm for part in stage.trains for norm in fresh_norms(getattr(objective.model, part))]
    if not norms:
        return
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all passes
    for batch in objective.passes(objective.numbers(0)[:SAMPLES], 0):
        objective.normalise(batch)
    for norm in norms:
        norm.eval()


def fresh_norms(part: nn.Module) -> list[nn.BatchNorm1d]:
    """Those that have never seen anything."""
    norms = (module for module in part.modules() if isinstance(module, nn.BatchNorm1d))
    return [norm for norm in norms if bool((norm.running_mean == 0).all() and (norm.running_var == 1).all())]
