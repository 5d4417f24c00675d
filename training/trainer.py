"""The training loop: one stage, from its first or resumed step to the end of its schedule.

Notable points:
- A batch is a pure function of (seed, step), so the step number is all that is needed to continue with the same data.
- A resumed stage has the same weights, moments and random state as one that was never stopped.
- SIGTERM and Ctrl-C finish the step, save, and end with `StageInterruptionError`.
- Several processes (`training.distributed.process_group`) compute their shares of a batch and average the gradients;
  the main process validates, logs and writes.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from training.data.loader import batches, to_device, workers_for
from training.distributed.precision import mixed_precision
from training.distributed.process_group import any_rank, average_gradients, is_main_process, rank, world_size
from training.metrics_log import MetricsLog, drop_later_metrics
from training.optimizers import build_adversary_optimizer, build_optimizers, set_learning_rate, share_of_peak
from training.recipe import Schedule, Stage
from training.resume_file import (
    RESUME_FILE,
    optimizer_tensors,
    read_resume_file,
    restore_optimizer,
    under_prefix,
    with_prefix,
    write_resume_file,
)

LOG_EVERY = 20  # steps
SMOOTHING = 0.98  # of the running mean of the loss


class StageInterruptionError(Exception):
    """The stage was asked to stop; its state is saved and `--resume` continues it."""


class Trainer:
    """Trains the parts that a stage names.

    Args:
        stage, schedule: of the recipe.
        model: has an attribute for each part of `stage.loads`; those of `stage.trains` are trained, the rest is frozen.
        objective: see `training.objectives`.
        folder: for metrics and the resume file.
        bar: line of the progress bar, when several stages run at the same time.
    """

    def __init__(
        self, stage: Stage, schedule: Schedule, model: nn.Module, objective, folder: Path, *, seed: int = 0,
        bar: int = 0,
    ) -> None:  # fmt: skip
        self.stage, self.schedule, self.model, self.objective = stage, schedule, model, objective
        self.folder, self.seed, self.bar = folder, seed, bar
        self.device = next(model.parameters()).device
        self.step = 0
        self.seconds = 0.0  # spent in training, over all resumes
        self._clock = 0.0  # when `seconds` was last brought up to date
        self.stopping = False
        self.smooth_loss: float | None = None
        self.extra: nn.Module | None = getattr(objective, "extra", None)
        self.adversary: nn.Module | None = getattr(objective, "adversary", None)
        freeze(model, stage)
        trained = self._trained_modules()
        self.parameters = [p for module in trained.values() for p in module.parameters()]
        self.optimizers = build_optimizers(trained, schedule)
        if self.adversary is not None:
            self.adversary_optimizer = build_adversary_optimizer(self.adversary, schedule)
        self.autocast = partial(mixed_precision, self.device) if stage.mixed_precision else nullcontext

    def run(self, on_metrics: Callable[[int, dict], None] = lambda step, metrics: None) -> dict[str, float]:
        """Trains to the end of the schedule. Returns the last validation.

        Raises `StageInterruptionError` if it was told to stop.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clock = time.monotonic()
        valid: dict[str, float] = {}
        log = MetricsLog(self.folder, on_metrics, keep=self.step > 0) if is_main_process() else nullcontext()
        with log, self._progress() as progress, self._signals(), closing(self._batches()) as upcoming:
            for batch in upcoming:
                metrics = self.train_step(to_device(batch, self.device))
                self.step += 1
                self._show(metrics["loss"], progress)
                if is_main_process() and self._is_due(LOG_EVERY):
                    log.write(self.step, {**metrics, "loss_smooth": self.smooth_loss})
                if is_main_process() and self._is_due(self.schedule.validate_every):
                    valid = self._log_validation(log, progress)
                self._save_or_stop()
        self._count_seconds()
        return valid

    def train_step(self, batch) -> dict[str, float]:
        """One optimizer step, after one of the adversary if there is one. Returns metrics."""
        share = share_of_peak(self.step, self.schedule)
        metrics = {} if self.adversary is None else self._adversary_step(batch, share)
        with self.autocast():
            loss, more = self.objective.loss(batch)
        if not torch.isfinite(loss):
            raise ValueError(f"stage {self.stage.name}: the loss is {loss.item()} at step {self.step}; lower the lr")
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, share)
        norm = self._update(loss, self.optimizers, self.parameters)
        return metrics | {"loss": loss.item(), "gradient_norm": norm, "lr": self.schedule.lr * share, **more}

    def _adversary_step(self, batch, share: float) -> dict[str, float]:
        set_learning_rate(self.adversary_optimizer, share)
        with self.autocast():
            loss = self.objective.adversary_loss(batch)
        if loss is None:
            return {}
        self._update(loss, [self.adversary_optimizer], list(self.adversary.parameters()))
        return {"adversary": loss.item()}

    def _update(self, loss: Tensor, optimizers: list[Optimizer], parameters: list[nn.Parameter]) -> float:
        """Backward pass and optimizer step. Returns the gradient's norm before clipping."""
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.schedule.clip)
        for optimizer in optimizers:
            optimizer.step()
        return norm.item()

    def validate(self) -> dict[str, float]:
        """The metrics of the objective on held-out data, in fp32 and inference mode. The random state is kept."""
        state = torch.get_rng_state()
        self.model.eval()
        with torch.no_grad():
            metrics = self.objective.validate()
        set_modes(self.model, self.stage)
        torch.set_rng_state(state)
        return metrics

    # Parts of the loop

    def _batches(self) -> Iterator:
        workers = 0 if getattr(self.objective, "needs_model", False) else workers_for(self.device)
        return batches(self._batch, range(self.step, self.schedule.steps), workers)

    def _batch(self, step: int):
        """This process's share of the batch of a step."""
        return self.objective.batch(step * world_size() + rank())

    def _progress(self) -> tqdm:
        return tqdm(
            total=self.schedule.steps, initial=self.step, desc=f"{self.stage.name} {self.stage.title}",
            position=self.bar, unit="step", dynamic_ncols=True, smoothing=0.05,
            mininterval=1.0 if sys.stderr.isatty() else 30.0, disable=not is_main_process(),
        )  # fmt: skip

    def _show(self, loss: float, progress: tqdm) -> None:
        before = loss if self.smooth_loss is None else self.smooth_loss
        self.smooth_loss = SMOOTHING * before + (1 - SMOOTHING) * loss
        progress.update()
        progress.set_postfix(loss=f"{self.smooth_loss:.3f}", refresh=False)

    def _log_validation(self, log: MetricsLog, progress: tqdm) -> dict[str, float]:
        valid = self.validate()
        log.write(self.step, {f"valid/{name}": value for name, value in valid.items()})
        shown = "  ".join(f"{name} {value:.3g}" for name, value in valid.items())
        progress.write(f"{self.stage.name} step {self.step}: loss {self.smooth_loss:.3f}  {shown}")
        return valid

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.schedule.steps

    def _save_or_stop(self) -> None:
        """Saves where that is due. Raises `StageInterruptionError` if any process was told to stop."""
        self.stopping = any_rank(self.stopping, self.device)
        if self.step == self.schedule.steps:
            return
        if self.stopping or self.step % self.schedule.save_every == 0:
            self._count_seconds()
            self.save()
        if self.stopping:
            raise StageInterruptionError(
                f"stage {self.stage.name} stopped at step {self.step} of {self.schedule.steps}; --resume continues it"
            )

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now

    @contextmanager
    def _signals(self):
        """Inside, SIGTERM and Ctrl-C stop the stage after its step."""

        def stop(number, frame):
            self.stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # Resume

    def save(self) -> None:
        """Writes the resume file: trained parts, optimizers, adversary, random state, step."""
        if not is_main_process():
            return
        tensors = with_prefix("model", self._trained_tensors()) | {"random": torch.get_rng_state()}
        for prefix, optimizer in self._named_optimizers().items():
            tensors |= with_prefix(prefix, optimizer_tensors(optimizer))
        if self.adversary is not None:
            tensors |= with_prefix("adversary", self.adversary.state_dict())
        facts = {"stage": self.stage.name, "step": self.step, "seed": self.seed, "seconds": self.seconds}
        write_resume_file(self.folder, tensors, facts)

    @torch.no_grad()
    def resume(self) -> bool:
        """Continues from the resume file. Returns False if there is none; `ValueError` if it is of another stage."""
        if not (self.folder / RESUME_FILE).exists():
            return False
        tensors, facts = read_resume_file(self.folder, self.device, self.stage.name, self.seed)
        for name, tensor in self._trained_tensors().items():
            tensor.copy_(tensors[f"model.{name}"])
        for prefix, optimizer in self._named_optimizers().items():
            restore_optimizer(optimizer, under_prefix(prefix, tensors))
        if self.adversary is not None:
            self.adversary.load_state_dict(under_prefix("adversary", tensors))
        torch.set_rng_state(tensors["random"].cpu())
        self.step, self.seconds = int(facts["step"]), float(facts["seconds"])
        if is_main_process():
            drop_later_metrics(self.folder, self.step)
        return True

    def _trained_modules(self) -> dict[str, nn.Module]:
        """The parts that are trained, and the module that is trained with them and not kept."""
        modules = {part: getattr(self.model, part) for part in self.stage.trains}
        return modules | ({"extra": self.extra} if self.extra is not None else {})

    def _trained_tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers of the trained modules, tied weights once."""
        tensors: dict[str, Tensor] = {}
        for name, module in self._trained_modules().items():
            tensors |= with_prefix(name, dict(module.named_parameters()) | dict(module.named_buffers()))
        return tensors

    def _named_optimizers(self) -> dict[str, Optimizer]:
        named = {f"optimizer{number}": optimizer for number, optimizer in enumerate(self.optimizers)}
        return named | ({} if self.adversary is None else {"adversary_optimizer": self.adversary_optimizer})


def freeze(model: nn.Module, stage: Stage) -> None:
    """Lets gradients flow into the parts that the stage trains and into no other."""
    for part in stage.loads:
        getattr(model, part).requires_grad_(part in stage.trains)
    set_modes(model, stage)


def set_modes(model: nn.Module, stage: Stage) -> None:
    """Training mode for trained parts; inference mode for frozen ones, so that running statistics do not change."""
    for part in stage.loads:
        getattr(model, part).train(part in stage.trains)
