"""The training loop: one stage, from its first or resumed step to the end of its schedule.

Notable points:
- A step has the same samples for any number of processes. Each packs its share into passes; the gradients of all passes
  are summed, and each term of the loss is divided by its count in the whole step (`training.objectives.objective`).
- Processes make the same number of passes: one that has fewer makes blank ones, or the others would wait for ever.
- Random numbers of a step are a function of (seed, step, process), so a resumed stage is the same stage.
- SIGTERM and Ctrl-C finish the step, save, and end with `StageInterruptionError`.
- What goes wrong in one process ends all of them at the same step.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from training.data.loader import passes_of, to_device
from training.distributed.activations import plain_name
from training.distributed.precision import precision_for
from training.distributed.process_group import any_rank, is_main_process, rank, reduced, world_size
from training.distributed.sharding import shard, whole
from training.distributed.states import SavedStates
from training.ending import OtherProcessError, SampleError, StageInterruptionError
from training.identity import check_identity, write_identity
from training.lora import trainable
from training.metrics_log import MetricsLog, drop_later_metrics
from training.objectives.objective import Batch, Objective
from training.optimizers import (
    build_adversary_optimizer,
    build_optimizers,
    optimizer_tensors,
    restore_optimizer,
    set_learning_rate,
    share_of_peak,
)
from training.options import Options
from training.recipe import Schedule, Stage

LOG_EVERY = 20  # steps
SMOOTHING = 0.98  # of the running mean of the loss


class Trainer:
    """Trains the parts that a stage names.

    Args:
        stage, schedule: of the recipe.
        objective: see `training.objectives.objective`.
        folder: for metrics and saved states.
        device: where it is computed.
        identity: what the saved states belong to (`training.identity`).
        bar: line of the progress bar, when several stages run at the same time.
    """

    def __init__(
        self, stage: Stage, schedule: Schedule, objective: Objective, folder: Path, *, device: torch.device,
        identity: dict, options: Options, seed: int = 0, bar: int = 0,
    ) -> None:  # fmt: skip
        self.stage, self.schedule, self.objective, self.folder = stage, schedule, objective, folder
        self.device, self.identity, self.seed, self.bar = device, identity, seed, bar
        self.step = 0
        self.seconds = 0.0  # spent in training, over all resumes
        self._clock = 0.0  # when `seconds` was last brought up to date
        self.stopping = False
        self.smooth_loss: float | None = None
        self.precision = precision_for(device, stage.mixed_precision)
        recompute = device.type == "cuda" if options.recompute is None else options.recompute
        freeze(objective, stage)
        shard(objective, stage, self.precision, device, recompute=recompute, compiled=options.compile)
        self.modules = trained_modules(objective, stage)
        self.optimizers = build_optimizers(self.modules, schedule)
        self.groups = [[p for module in self.modules.values() for p in trainable(module)]]  # clipped each by itself
        saved = dict(self.modules)
        if objective.adversary is not None:
            self.optimizers.append(build_adversary_optimizer(objective.adversary, schedule))
            self.groups.append(list(objective.adversary.parameters()))
            saved["adversary"] = objective.adversary
        # Collected now: after a validation the weights outside the blocks stay gathered, and modules have those copies.
        self._saved = saved_tensors(saved)
        self.states = SavedStates(folder)
        self._probe: list[Batch] | None = None
        self._count_names = sorted(objective.counts(objective.blank()))

    def run(self, on_metrics: Callable[[int, dict], None] = lambda step, metrics: None) -> dict[str, float]:
        """Trains to the end of the schedule. Returns the last validation.

        Raises `StageInterruptionError` if it was told to stop, `ValueError` if the loss is not finite or a sample
        cannot be learned from.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if is_main_process():
            write_identity(self.folder, self.identity)
        self._clock = time.monotonic()
        valid: dict[str, float] = {}
        log = MetricsLog(self.folder, on_metrics, keep=self.step > 0) if is_main_process() else nullcontext()
        with self.states, log, self._progress() as progress, self._signals(), closing(self._steps()) as steps:
            while self.step < self.schedule.steps:
                metrics = self.train_step(self._next(steps))
                self.step += 1
                self._show(metrics["loss"], progress)
                if is_main_process() and self._is_due(LOG_EVERY):
                    log.write(self.step, {**metrics, "loss_smooth": self.smooth_loss})
                if self._is_due(self.schedule.validate_every):
                    valid = self.validate()
                    self._report(valid, log, progress)
                self._save_or_stop()
        self._count_seconds()
        return valid

    def train_step(self, passes: list[Batch]) -> dict[str, float]:
        """One optimizer step on this process's passes. Returns metrics of all processes."""
        totals, count, largest = self._agree(passes)
        share = share_of_peak(self.step, self.schedule)
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, share)
            optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(hash((self.seed, self.step, rank())))
        sums = dict.fromkeys(self.objective.terms, 0.0)
        for number in range(count):
            batch = passes[number] if number < len(passes) else self.objective.blank()
            for name, value in self._pass(batch, totals).items():
                sums[name] += float(value)
        metrics = self._metrics(sums, totals)
        metrics |= {"lr": self.schedule.lr * share, "tokens": totals["positions"]}
        metrics["useful"] = totals["positions"] / max(1.0, count * world_size() * largest)
        norms = [whole(nn.utils.clip_grad_norm_(group, self.schedule.clip)).item() for group in self.groups]
        self._check_finite("norm of the gradient", sum(norms))
        for optimizer in self.optimizers:
            optimizer.step()
        self.objective.finish_step()
        return metrics | {"gradient_norm": norms[0]}

    def _pass(self, batch: Batch, totals: dict[str, float]) -> dict[str, Tensor]:
        """Adds the gradients of a pass. Returns its sums."""
        with self._memory(batch):
            with self.precision.context(self.device):
                sums = self.objective(to_device(batch, self.device), self.step)
            terms = ((self.objective.terms[name], value) for name, value in sums.items())
            # A total of 0 leaves the term out in every process alike.
            loss = sum(term.weight * value / max(totals[term.per], 1.0) for term, value in terms if term.weight)
            (loss * world_size()).backward()  # sharding takes the mean over processes, and the sum is wanted
        return {name: value.detach() for name, value in sums.items()}

    @contextmanager
    def _memory(self, batch: Batch) -> Iterator[None]:
        """Inside, a pass that is too large for the GPU's memory becomes one line."""
        try:
            yield
        except torch.OutOfMemoryError:
            tokens = self.objective.counts(batch)["positions"]
            raise SampleError(
                f"stage {self.stage.name}: out of memory at step {self.step}, in a pass of {tokens:,.0f} tokens; give "
                f"fewer --tokens (now {self.schedule.tokens:,}) or a shorter --sequence-length; `parley plan` says "
                "what fits"
            ) from None

    def _agree(self, passes: list[Batch]) -> tuple[dict[str, float], int, float]:
        """The counts of the step over all processes, the largest number of passes in one, and the largest pass."""
        found = [self.objective.counts(batch) for batch in passes]
        local = [sum(counts[name] for counts in found) for name in self._count_names]
        totals = dict(zip(self._count_names, reduced(local, self.device), strict=True))
        largest = max((counts["positions"] for counts in found), default=0.0)
        most = reduced([len(passes), largest], self.device, dist.ReduceOp.MAX)
        return totals, int(most[0]), most[1]

    def _metrics(self, sums: dict[str, float], totals: dict[str, float]) -> dict[str, float]:
        """Each term's mean over the step, and the loss. Raises `ValueError` in every process if one is not finite."""
        values = reduced(list(sums.values()), self.device)
        terms = [(name, self.objective.terms[name], value) for name, value in zip(sums, values, strict=True)]
        means = {name: value / max(totals[term.per], 1.0) for name, term, value in terms if totals[term.per]}
        means["loss"] = sum(term.weight * means.get(name, 0.0) for name, term, _ in terms)
        self._check_finite("loss", sum(values, means["loss"]))
        return means

    def _check_finite(self, what: str, value: float) -> None:
        """Before the weights change: saved ones that are NaN could never be continued."""
        if not math.isfinite(value):
            raise ValueError(
                f"stage {self.stage.name}: the {what} is {value} at step {self.step}; lower the learning rate, or look "
                "at the data of this step"
            )

    def validate(self) -> dict[str, float]:
        """The figures of the objective on held-out data, each process on a share of it."""
        self.objective.eval()
        if self._probe is None:
            self._probe = self.objective.probe(rank(), world_size())
        count = int(reduced([len(self._probe)], self.device, dist.ReduceOp.MAX)[0])
        totals: dict[str, Tensor] = {}
        with torch.no_grad():
            for number in range(count):
                batch = self._probe[number] if number < len(self._probe) else self.objective.blank()
                for name, value in self.objective(to_device(batch, self.device), self.step).items():
                    totals[name] = totals.get(name, 0.0) + value.double()
        if dist.is_initialized():
            for value in totals.values():
                dist.all_reduce(value)
        set_modes(self.objective, self.stage)
        return self.objective.summary(totals) if totals else {}

    # Parts of the loop

    def _steps(self) -> Iterator[list[Batch]]:
        return passes_of(self.objective, range(self.step, self.schedule.steps), self.device, rank(), world_size())

    def _next(self, steps: Iterator[list[Batch]]) -> list[Batch]:
        """The passes of the next step. Raises in every process if one of them cannot make its own."""
        passes, error = [], None
        try:
            passes = next(steps)
        except (ValueError, OSError) as raised:
            error = raised
        if not any_rank(error is not None, self.device):
            return passes
        raise OtherProcessError("another process ended the stage") if error is None else SampleError(str(error))

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

    def _report(self, valid: dict[str, float], log: MetricsLog | None, progress: tqdm) -> None:
        if not is_main_process():
            return
        log.write(self.step, {f"valid/{name}": value for name, value in valid.items()})
        shown = "  ".join(f"{name} {value:.3g}" for name, value in valid.items())
        progress.write(f"{self.stage.name} step {self.step}: loss {self.smooth_loss:.3f}  {shown}")

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.schedule.steps

    def _save_or_stop(self) -> None:
        """Saves where that is due. Raises `StageInterruptionError` if any process was told to stop."""
        self.stopping = any_rank(self.stopping, self.device)
        if self.step == self.schedule.steps:
            return
        if self.stopping or self.step % self.schedule.save_every == 0:
            self._count_seconds()
            self.save(wait=self.stopping)
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

    # Saved states

    def save(self, wait: bool = True) -> None:
        """Writes the state: trained parts, what is trained with them, optimizers, step."""
        progress = {"step": torch.tensor(self.step), "seconds": torch.tensor(self.seconds)}
        tensors = self._saved | progress
        for number, optimizer in enumerate(self.optimizers):
            tensors |= optimizer_tensors(optimizer, f"optimizer{number}", self._named_parameters())
        self.states.save(self.step, tensors, wait)

    @torch.no_grad()
    def resume(self) -> bool:
        """Continues from the newest saved state. Returns False if there is none; `ValueError` if it belongs to another
        recipe, start or data."""
        newest = self.states.newest()
        if newest is None:
            return False
        check_identity(self.folder, self.identity)
        progress = {"step": torch.tensor(0), "seconds": torch.tensor(0.0)}
        tensors, shapes = self._saved | progress, self.states.shapes(newest)
        for number, optimizer in enumerate(self.optimizers):
            tensors |= restore_optimizer(optimizer, f"optimizer{number}", self._named_parameters(), shapes)
        self.states.load(newest, tensors)
        self.step, self.seconds = int(progress["step"]), float(progress["seconds"])
        if is_main_process():
            drop_later_metrics(self.folder, self.step)
        return True

    def _named_parameters(self) -> dict[str, nn.Parameter]:
        return {name: tensor for name, tensor in self._saved.items() if isinstance(tensor, nn.Parameter)}


def saved_tensors(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    """What is trained in the modules, and their buffers; tied weights once."""
    tensors: dict[str, Tensor] = {}
    for prefix, module in modules.items():
        found = {name: p for name, p in module.named_parameters() if p.requires_grad} | dict(module.named_buffers())
        tensors |= {plain_name(f"{prefix}.{name}"): tensor for name, tensor in found.items()}
    return tensors


def trained_modules(objective: Objective, stage: Stage) -> dict[str, nn.Module]:
    """The parts that are trained, and the module that is trained with them and not kept."""
    modules = {part: getattr(objective.model, part) for part in stage.trains}
    return modules | ({"extra": objective.extra} if objective.extra is not None else {})


def freeze(objective: Objective, stage: Stage) -> None:
    """Lets gradients flow into what the stage trains and into nothing else."""
    for part in stage.loads:
        module = getattr(objective.model, part).requires_grad_(False)
        for parameter in trainable(module) if part in stage.trains else ():
            parameter.requires_grad_(True)
    set_modes(objective, stage)


def set_modes(objective: Objective, stage: Stage) -> None:
    """Training mode, but for frozen parts and for batch norms: their statistics would depend on how a step is spread
    over passes and processes."""
    objective.train()
    for part in stage.reads_only:
        getattr(objective.model, part).eval()
    for module in objective.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
