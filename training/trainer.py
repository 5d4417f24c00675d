"""The loop: one stage, from its parents' parts to its checkpoint.

Notable points:
- An objective makes batches as a pure function of (seed, step), so the step number is all that resuming needs to go on
  with the same data in the same order.
- The resume file is one safetensors file, replaced atomically: a kill at any moment leaves the last good one.
- SIGTERM and Ctrl-C finish the step, save, and end with `StageInterruptionError`.
- Several ranks (`training.distributed.process_group`) each draw their share of a batch and average the gradients; the first of them writes.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from training.data.loader import batches, moved, workers_for
from training.distributed import process_group as ranks
from training.distributed.precision import fastest
from training.recipe import Schedule, Stage

RESUME_FILE = "resume.safetensors"
METRICS_FILE = "metrics.jsonl"


class StageInterruptionError(Exception):
    """The stage was asked to stop; its state is saved and `--resume` continues it."""


class Trainer:
    """Trains the parts a stage names.

    Args:
        stage, schedule: the row of the recipe and its numbers.
        model: has an attribute for each part of `stage.loads`; `trains` is trained, the rest is frozen.
        objective: see `training.objectives`.
        folder: of the stage; metrics, resume state and curves go there.
        bar: line of the progress bar, when several stages run side by side.
    """

    def __init__(
        self,
        stage: Stage,
        schedule: Schedule,
        model: nn.Module,
        objective,
        folder: Path,
        *,
        seed: int = 0,
        bar: int = 0,
    ) -> None:
        self.stage, self.schedule, self.model, self.objective = stage, schedule, model, objective
        self.folder, self.seed, self.bar = folder, seed, bar
        self.device = next(model.parameters()).device
        self.step = 0
        self.seconds = 0.0  # spent training, over all resumes
        self.stopping = False
        self.extra = getattr(objective, "extra", None)  # trained beside the parts, and left behind
        trained = freeze(model, stage)
        self.parameters = [*trained, *(self.extra.parameters() if self.extra is not None else ())]
        self.optimizers = build_optimizers(model, stage, schedule, self.extra)
        self.adversary = getattr(objective, "adversary", None)
        self.adversary_optimizer = None
        if self.adversary is not None:
            self.adversary_optimizer = torch.optim.AdamW(
                self.adversary.parameters(), lr=schedule.lr, betas=(0.8, 0.99), weight_decay=0.0, fused=True
            )
        self.autocast = partial(fastest, self.device) if stage.mixed_precision else nullcontext

    def run(self, on_metrics: Callable[[int, dict], None] = lambda step, metrics: None) -> dict[str, float]:
        """Trains to the schedule's end. Returns the last validation. Raises `StageInterruptionError` when stopped."""
        self.folder.mkdir(parents=True, exist_ok=True)
        total, smooth, started, valid, leads = self.schedule.steps, None, time.monotonic(), {}, ranks.leads()
        # A new start leaves no old curve.
        log = (self.folder / METRICS_FILE if leads else Path(os.devnull)).open("a" if self.step else "w")

        def record(metrics: dict[str, float]) -> None:
            if not leads:
                return
            log.write(json.dumps({"step": self.step, **{k: round(float(v), 5) for k, v in metrics.items()}}) + "\n")
            log.flush()
            on_metrics(self.step, metrics)

        progress = tqdm(
            total=total, initial=self.step, desc=f"{self.stage.name} {self.stage.title}", position=self.bar,
            unit="step", dynamic_ncols=True, smoothing=0.05, mininterval=1.0 if sys.stderr.isatty() else 30.0,
            disable=not leads,
        )  # fmt: skip
        workers = 0 if getattr(self.objective, "needs_model", False) else workers_for(self.device)
        upcoming = batches(self._batch, range(self.step, total), workers)
        with log, progress, self._signals(), closing(upcoming):
            for batch in upcoming:
                metrics = self.train_step(moved(batch, self.device))
                self.step += 1
                smooth = metrics["loss"] if smooth is None else 0.98 * smooth + 0.02 * metrics["loss"]
                progress.update()
                progress.set_postfix(loss=f"{smooth:.3f}", refresh=False)
                if self.step % 20 == 0 or self.step == total:
                    record({**metrics, "loss_smooth": smooth})
                if leads and (self.step % self.schedule.validate_every == 0 or self.step == total):
                    valid = self.validate()
                    record({f"valid/{name}": value for name, value in valid.items()})
                    shown = "  ".join(f"{name} {value:.3g}" for name, value in valid.items())
                    progress.write(f"{self.stage.name} step {self.step}: loss {smooth:.3f}  {shown}")
                last = self.step == total
                self.stopping = ranks.anyone(self.stopping, self.device)
                if not last and (self.stopping or self.step % self.schedule.save_every == 0):
                    self.seconds += time.monotonic() - started
                    started = time.monotonic()
                    self.save()
                if self.stopping and not last:
                    raise StageInterruptionError(
                        f"stage {self.stage.name} stopped at step {self.step} of {total}; --resume goes on"
                    )
        self.seconds += time.monotonic() - started
        return valid

    def train_step(self, batch) -> dict[str, float]:
        """One optimizer step (and, with an adversary, one of its own before it). Returns floats."""
        metrics: dict[str, float] = {}
        rate = rate_at(self.step, self.schedule)
        if self.adversary is not None:
            for group in self.adversary_optimizer.param_groups:
                group["lr"] = self.schedule.lr * rate
            with self.autocast():
                loss = self.objective.adversary_loss(batch)
            if loss is not None:
                self._update(loss, [self.adversary_optimizer], list(self.adversary.parameters()))
                metrics["adversary"] = loss.item()
        with self.autocast():
            loss, more = self.objective.loss(batch)
        if not torch.isfinite(loss):
            raise ValueError(f"stage {self.stage.name}: the loss is {loss.item()} at step {self.step}; lower the lr")
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate
        norm = self._update(loss, self.optimizers, self.parameters)
        return metrics | {"loss": loss.item(), "gradient_norm": norm, "lr": self.schedule.lr * rate, **more}

    def _update(self, loss: Tensor, optimizers: list[Optimizer], parameters: list[nn.Parameter]) -> float:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        ranks.average_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.schedule.clip)
        for optimizer in optimizers:
            optimizer.step()
        return norm.item()

    def _batch(self, step: int):
        return self.objective.batch(step * ranks.count() + ranks.rank())

    def validate(self) -> dict[str, float]:
        """The objective's own measures, in fp32 and inference mode, as the model serves; the random state stays."""
        state = torch.get_rng_state()
        self.model.eval()
        with torch.no_grad():
            metrics = self.objective.validate()
        set_modes(self.model, self.stage)
        torch.set_rng_state(state)
        return metrics

    # Resume

    def save(self) -> None:
        """Writes the resume file: trained parts, optimizer, adversary, random state, step. Atomic."""
        if not ranks.leads():
            return
        tensors = {f"model.{name}": tensor for name, tensor in self._state().items()}
        for number, optimizer in enumerate(self.optimizers):
            tensors |= {f"optimizer{number}.{key}": value for key, value in _optimizer_tensors(optimizer).items()}
        if self.adversary is not None:
            tensors |= {f"adversary.{key}": value for key, value in self.adversary.state_dict().items()}
            moments = _optimizer_tensors(self.adversary_optimizer)
            tensors |= {f"adversary_optimizer.{key}": value for key, value in moments.items()}
        tensors["random"] = torch.get_rng_state()
        metadata = {
            "stage": self.stage.name,
            "step": str(self.step),
            "seed": str(self.seed),
            "seconds": str(self.seconds),
        }
        temporary = self.folder / (RESUME_FILE + ".part")
        save_file({key: value.detach().clone().contiguous() for key, value in tensors.items()}, temporary, metadata)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut could leave an empty file in place of the last good one
        temporary.replace(self.folder / RESUME_FILE)

    def resume(self) -> bool:
        """Takes up the resume file, if there is one. Raises `ValueError` if it belongs to another stage or seed."""
        path = self.folder / RESUME_FILE
        if not path.exists():
            return False
        with safe_open(path, "pt", device=str(self.device)) as file:
            metadata = file.metadata()
            if (metadata["stage"], metadata["seed"]) != (self.stage.name, str(self.seed)):
                raise ValueError(
                    f"{path} is of stage {metadata['stage']}, seed {metadata['seed']}; "
                    f"this is stage {self.stage.name}, seed {self.seed}"
                )
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        with torch.no_grad():
            for name, tensor in self._state().items():
                tensor.copy_(tensors[f"model.{name}"])
        for number, optimizer in enumerate(self.optimizers):
            _restore_optimizer(optimizer, tensors, f"optimizer{number}.")
        if self.adversary is not None:
            prefix = "adversary."
            self.adversary.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
            _restore_optimizer(self.adversary_optimizer, tensors, "adversary_optimizer.")
        torch.set_rng_state(tensors["random"].cpu())
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self._forget_after(self.step)
        return True

    def _state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the trained parts, tied weights once."""
        tensors: dict[str, Tensor] = {}
        for part in self.stage.trains:
            module = getattr(self.model, part)
            tensors |= {f"{part}.{name}": tensor for name, tensor in module.named_parameters()}
            tensors |= {f"{part}.{name}": tensor for name, tensor in module.named_buffers()}
        if self.extra is not None:
            tensors |= {f"extra.{name}": tensor for name, tensor in self.extra.named_parameters()}
        return tensors

    def _forget_after(self, step: int) -> None:
        """Drops the metrics of steps that will be done again."""
        path = self.folder / METRICS_FILE
        if path.exists() and ranks.leads():
            lines = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            temporary = path.with_suffix(".part")
            temporary.write_text("".join(line + "\n" for line in lines))
            temporary.replace(path)

    @contextmanager
    def _signals(self):
        def stop(number, frame):
            self.stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _step_of(line: str) -> float:
    """The step of a line of metrics; infinite for a last line that a kill cut short."""
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return math.inf


def freeze(model: nn.Module, stage: Stage) -> list[nn.Parameter]:
    """Lets gradients flow into the parts the stage trains and no other. Returns their parameters, tied ones once."""
    for part in stage.loads:
        getattr(model, part).requires_grad_(part in stage.trains)
    set_modes(model, stage)
    return [p for part in stage.trains for p in getattr(model, part).parameters()]


def set_modes(model: nn.Module, stage: Stage) -> None:
    """Training mode for what trains; inference mode for what is frozen, so that no running statistic moves."""
    for part in stage.loads:
        getattr(model, part).train(part in stage.trains)


def build_optimizers(
    model: nn.Module, stage: Stage, schedule: Schedule, extra: nn.Module | None = None
) -> list[Optimizer]:
    """AdamW, and Muon for the attention's matrices where the schedule asks for it.

    Norms, biases and vectors are not decayed. Each group carries its `peak` lr.
    """
    groups, matrices = [], []
    modules = {part: getattr(model, part) for part in stage.trains} | ({"extra": extra} if extra is not None else {})
    for part, module in modules.items():
        peak = schedule.lr_of.get(part, schedule.lr)
        named = dict(module.named_parameters())
        muon = [n for n, p in named.items() if schedule.muon and p.ndim == 2 and ("attn" in n or "attention" in n)]
        if muon:
            muon_peak = schedule.muon * peak / schedule.lr
            matrices.append({"params": [named.pop(name) for name in muon], "lr": muon_peak, "peak": muon_peak})
        for decay, chosen in (
            (schedule.weight_decay, [p for p in named.values() if p.ndim >= 2]),
            (0.0, [p for p in named.values() if p.ndim < 2]),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": peak, "peak": peak, "weight_decay": decay})
    optimizers: list[Optimizer] = [torch.optim.AdamW(groups, lr=schedule.lr, betas=schedule.betas, fused=True)]
    if matrices:
        # Scaled so that an update is as large as AdamW's would be.
        optimizers.append(torch.optim.Muon(matrices, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def rate_at(step: int, schedule: Schedule) -> float:
    """Share of the peak lr at a step: linear warm-up, then cosine down to `floor`."""
    warmup = max(1, round(schedule.steps * schedule.warmup))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, schedule.steps - warmup)
    return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments under `INDEX.NAME`, the index being the parameter's place over all groups."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {f"{i}.{key}": value for i, p in enumerate(parameters) for key, value in optimizer.state.get(p, {}).items()}


def _restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor], prefix: str) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            index, key = name.removeprefix(prefix).split(".")
            optimizer.state[parameters[int(index)]][key] = tensor
