"""A run: the stages of the recipe, each in its own process, and the folder they leave.

    RUN/STAGE/          the stage's checkpoint (`parley.checkpoints.checkpoint`)
    RUN/work/STAGE/     what it took to make it: metrics, curves, and the resume file until the stage is done
    RUN/tensorboard/    curves to watch while it runs
    RUN/report.md       what was trained, where, how long, with which result

Notable points:
- A stage starts when the stages it builds on are final; up to `jobs` of them run side by side. One that nothing could
  run beside has the machine to itself, and `jobs` processes share its batches (`training.distributed.process_group`). If it began beside
  another that has ended, it saves and goes on so.
- A stage that is done is never done again; `resume` takes up the others where they were.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor, nn

from parley.checkpoints import Checkpoint, save_stage
from parley.checkpoints.loading import load_into
from parley.checkpoints.manifest import MANIFEST
from parley.config import ParleyConfig, preset
from parley.media.image import frames_to_pixels
from parley.models.parley import Parley
from training.data.world.sentences import all_words
from training.distributed import process_group as ranks
from training.distributed.precision import best_device, plain_attention
from training.evaluation.curves import draw_curves
from training.recipe import Schedule, Stage, recipe, schedule, stage
from training.stages.world_data import StageData, answering_or_any, first_tokenizer
from training.trainer import METRICS_FILE, RESUME_FILE, StageInterruptionError, Trainer

PICTURES = 128  # that a fresh vision adapter is fitted to
DIRECTIONS = 28  # main ones of the vision encoder's features, that a fresh adapter reads
PLACE_GAIN = 2.5  # how much louder it reads where a cell is
FIRST_SIZE = 0.25  # of what its first layer writes: so small, GELU is nearly a line and mixes nothing


def work_folder(run: Path, name: str) -> Path:
    return run / "work" / name


def is_done(run: Path, name: str) -> bool:
    return (run / name / MANIFEST).exists()


def shortened(numbers: Schedule, steps: int | None) -> Schedule:
    """The schedule with at most `steps` steps: for a trial of the whole recipe."""
    return numbers if steps is None else replace(numbers, steps=min(steps, numbers.steps))


def check_trainable(preset_name: str, rows: Sequence[Stage]) -> None:
    """Raises `ValueError` for an unknown preset, or one with a stage whose length the recipe does not say: it would end
    at once, untrained."""
    preset(preset_name)
    if endless := [row.name for row in rows if not schedule(row, preset_name).steps]:
        raise ValueError(
            f"{preset_name} cannot be trained yet: the recipe gives no steps for stage {', '.join(endless)}, and only "
            "nano's world can be learned from; `parley train nano` works"
        )


def with_ctc_words(config: ParleyConfig, words: Sequence[str]) -> ParleyConfig:
    """The config of a model whose CTC head writes these words whole."""
    return config.model_copy(update={"speech": config.speech.model_copy(update={"ctc_words": tuple(words)})})


def build_model(row: Stage, config: ParleyConfig, run: Path, seed: int) -> Parley:
    """The parts the stage needs: its parents' where they have them, fresh ones (seeded by the stage) elsewhere.

    Raises `ValueError` if a part that the stage only reads was never trained.
    """
    torch.manual_seed(zlib.crc32(f"{seed} {row.name}".encode()))
    model = Parley(config, row.loads)
    parents = [Checkpoint.open(run / name) for name in row.after]
    for part in row.loads:
        parent = next((parent for parent in parents if part in parent.parts), None)
        if parent is not None:
            load_into(getattr(model, part), parent.state_dict(part), part)
        elif part in row.reads:
            raise ValueError(
                f"stage {row.name} reads {part}, which none of {', '.join(row.after) or 'its parents'} has"
            )
    return model


def calm(model: Parley, row: Stage, run: Path, pictures: list[Image.Image]) -> None:
    """Prepares the stage's fresh adapters: a vision adapter reads all that the encoder tells (`balance`), and what any
    writes is as large as a token's embedding: were it larger, the language model's layers could add nothing to the
    vectors of a picture or of speech."""
    inherited = {part for name in row.after for part in Checkpoint.open(run / name).parts}
    fresh = [part for part in row.trains if part not in inherited]
    if "vision_adapter" in fresh:
        with torch.no_grad():
            pixels = torch.from_numpy(frames_to_pixels(pictures, model.config.vision))
            balance(model.vision_adapter[0], model.vision_encoder(pixels))
    calm_parts(model, fresh, pictures)


@torch.no_grad()
def calm_parts(model: Parley, fresh: Sequence[str], pictures: list[Image.Image]) -> None:
    """Scales the adapters among the parts `fresh` so that what they write is as large as a token's embedding."""
    if "vision_adapter" in fresh:
        seen = model.vision_encoder(torch.from_numpy(frames_to_pixels(pictures, model.config.vision)))
        scale(model.vision_adapter[-1], model, model.vision_adapter(seen))
    if "speech_adapter" in fresh:
        frames = torch.randn(4, 100, model.config.speech.hidden_size)
        scale(model.speech_adapter.project, model, model.speech_adapter(frames, torch.full((4,), 100))[0])


def balance(first: nn.Linear, seen: Tensor) -> None:
    """Sets an adapter's first layer so that it reads all that its input `seen` [pictures, cells, width] tells equally
    well: its main directions at one size, and those that tell the cells apart at `PLACE_GAIN` times it. Else where a
    cell is would be a whisper beside what it holds, and the language model would take long to hear it."""
    flat = seen.flatten(0, 1)
    middle = flat.mean(0)
    _, sizes, directions = torch.linalg.svd(flat - middle, full_matrices=False)
    sizes = sizes.clamp(min=1e-5 * sizes[0]) / len(flat) ** 0.5  # what is nothing but rounding stays small
    main = directions[:DIRECTIONS] / sizes[:DIRECTIONS, None]
    places = (seen.mean(0) - middle) @ main.T  # what a cell looks like on average
    apart = torch.linalg.svd(places, full_matrices=False)[2][: seen.shape[1] - 1]
    read = torch.cat([main, PLACE_GAIN * apart @ main])
    mixing = torch.randn(first.out_features, len(read), device=read.device) / len(read) ** 0.5
    first.weight.copy_(FIRST_SIZE * mixing @ read)
    first.bias.copy_(-first.weight @ middle)


def scale(last: nn.Linear, model: Parley, made: Tensor) -> None:
    """Scales an adapter's last layer by what its output `made` differs in size from the embeddings."""
    size = model.language.get_input_embeddings().weight.square().mean().sqrt() / made.square().mean().sqrt()
    last.weight.mul_(size)
    last.bias.mul_(size)


def build_objective(row: Stage, numbers: Schedule, model: Parley, data: StageData, seed: int):
    """The loss of a stage. Each objective's module is imported only when its stage runs."""
    match row.objective:
        case "cells":
            from training.objectives.cells import CellsObjective

            return CellsObjective(row, model, data, seed)
        case "next_token":
            from training.objectives.next_token import NextTokenObjective

            return NextTokenObjective(row, model, data, seed)
        case "ctc":
            from training.data.transcribed import SpokenWorld
            from training.objectives.ctc import CtcObjective

            return CtcObjective(row, model, SpokenWorld(seed, numbers.mixture), seed, batch_size=numbers.batch)
        case "codec":
            from training.data.world.voices_data import ManyVoices
            from training.objectives.codec import CodecObjective

            speech = ManyVoices(seed, model.config.codec.sample_rate, answering_or_any)
            return CodecObjective(
                row, model, speech, seed, batch_size=numbers.batch, adversary_after=numbers.steps // 2
            )
        case "speech_decoder":
            from training.data.world.voices import ANSWER
            from training.data.world.voices_data import OneVoice
            from training.objectives.speech_decoder import SpeechDecoderObjective

            speech = OneVoice(seed, model.config.codec.sample_rate, ANSWER.name, ANSWER.wpm, ANSWER.pitch)
            return SpeechDecoderObjective(
                row, model, speech, seed, tokenizer=data.tokenizer, batch_size=numbers.batch,
                pool=min(16_384, numbers.steps * numbers.batch * ranks.count()),
            )  # fmt: skip
    raise AssertionError(row.objective)


def run_stage(
    name: str,
    run: Path,
    preset_name: str,
    *,
    seed: int = 0,
    resume: bool = False,
    steps: int | None = None,
    bar: int = 0,
) -> None:
    """Trains one stage in this process and writes its checkpoint.

    Raises `ValueError` if a stage it builds on is missing, if it was begun before and `resume` is not asked for, or if
    it is done: what was built on it names its files by their hashes.
    """
    row, config = stage(name), preset(preset_name)
    check_trainable(preset_name, [row])
    if preset_name == "nano":
        config = with_ctc_words(config, all_words())
    numbers = shortened(schedule(row, preset_name), steps)
    if missing := [parent for parent in row.after if not is_done(run, parent)]:
        raise ValueError(f"stage {name} builds on {', '.join(missing)}, which {run} does not have yet")
    if is_done(run, name):
        raise ValueError(f"stage {name} is done in {run}; another --run makes another")
    folder = work_folder(run, name)
    if not resume and (folder / RESUME_FILE).exists():
        raise ValueError(f"stage {name} was begun in {run}; --resume continues it, another --run starts anew")
    share = replace(numbers, batch=numbers.batch // ranks.count())
    tokenizer = _tokenizer(row, config, run, seed)
    model = build_model(row, config, run, seed)
    data = StageData(row, share, seed, tokenizer)
    calm(model, row, run, [data.train.picture(i)[1] for i in range(PICTURES)])
    plain_attention(model, best_device())
    objective = build_objective(row, share, model.to(best_device()), data, seed)
    complete(
        row, numbers, model, objective, run, data=data, tokenizer=tokenizer, seed=seed, resume=resume, bar=bar,
        parents=[run / parent for parent in row.after],
    )  # fmt: skip


def complete(
    row: Stage, numbers: Schedule, model: Parley, objective, run: Path, *, data, tokenizer: Tokenizer | None,
    parents: Sequence[Path], seed: int, resume: bool, bar: int = 0,
) -> None:  # fmt: skip
    """Trains a stage that is ready to the end of its schedule, and writes its checkpoint, made from `parents`'."""
    folder = work_folder(run, row.name)
    trainer = Trainer(row, numbers, model, objective, folder, seed=seed, bar=bar)
    if resume:
        trainer.resume()
    with _Board(run / "tensorboard" / row.name) as board:
        measured = trainer.run(board.write)
    if not ranks.leads():
        return
    draw_curves(folder / METRICS_FILE, folder / "curves.png", f"{row.name} {row.title}")
    facts = {"seconds": round(trainer.seconds, 1), "steps": numbers.steps, "device": _device_name(trainer.device)}
    save_stage(
        run / row.name, stage=row.name, config=model.config, tokenizer=tokenizer,
        parts={part: getattr(model, part).state_dict() for part in row.trains},
        parent=parents[0] if parents else None, others=parents[1:],
        data={"mixture": numbers.mixture, "samples": _samples(row, numbers, data), "seed": seed},
        metrics=measured | facts, commit=commit(),
    )  # fmt: skip
    (folder / RESUME_FILE).unlink(missing_ok=True)


def train(
    preset_name: str, run: Path, *, seed: int = 0, resume: bool = False, jobs: int = 2, steps: int | None = None
) -> None:
    """Runs every stage of the recipe that is not done yet, up to `jobs` side by side.

    Raises `ValueError` if the run was begun before and `resume` is not asked for, and `StageInterruptionError` if a
    stage stopped before its end.
    """
    rows = recipe(preset_name)
    check_trainable(preset_name, rows)
    if not resume and run.exists() and any(run.iterdir()):
        raise ValueError(f"{run} holds a run already; --resume continues it, another --run starts anew")
    run.mkdir(parents=True, exist_ok=True)
    waiting = [row for row in rows if not is_done(run, row.name)]
    running: dict[str, subprocess.Popen] = {}
    failed: dict[str, int] = {}
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops as Ctrl-C does
    try:
        while (waiting and not failed) or running:
            for row in list(waiting):
                final = all(is_done(run, parent) and parent not in running for parent in row.after)
                if len(running) < jobs and not failed and final:
                    bar = next(slot for slot in range(jobs) if slot not in [p.bar for p in running.values()])
                    shared = not running and alone(row, waiting) and shareable(row, preset_name, jobs)
                    process = _start(
                        row.name, run, preset_name, seed, steps, bar, threads=max(1, _cores() // jobs),
                        processes=jobs if shared else 1,
                    )  # fmt: skip
                    process.bar, process.shared, process.widened = bar, shared, False
                    running[row.name] = process
                    waiting.remove(row)
            time.sleep(0.2)
            for name, process in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    if process.widened:
                        again = () if is_done(run, name) else (stage(name),)
                        waiting = [row for row in rows if row in (*waiting, *again)]
                    elif process.returncode != 0 and not failed:  # after the first, the others were told to stop
                        failed[name] = process.returncode
                        for other in running.values():
                            other.terminate()
            for name, process in running.items() if len(running) == 1 and not failed else ():
                row = stage(name)
                if not process.shared and alone(row, waiting) and shareable(row, preset_name, jobs):
                    process.shared = process.widened = True
                    process.terminate()  # it saves, and is started again with the whole machine
    except KeyboardInterrupt:
        raise StageInterruptionError(f"stopped; `parley train {preset_name} --run {run} --resume` goes on") from None
    finally:  # whatever ends the run, no stage goes on alone
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
        signal.signal(signal.SIGTERM, before)
    if failed:
        which = ", ".join(f"{name} (exit code {code})" for name, code in failed.items())
        raise StageInterruptionError(
            f"stopped in stage {which}; `parley train {preset_name} --run {run} --resume` goes on"
        )


def alone(row: Stage, waiting: Sequence[Stage]) -> bool:
    """Whether all the stages that wait build, near or far, on this one."""
    on = {row.name}
    for other in waiting:  # in the recipe's order, so what a stage builds on comes before it
        if other is not row and on & set(other.after):
            on.add(other.name)
    return all(other.name in on for other in waiting)


def shareable(row: Stage, preset_name: str, processes: int) -> bool:
    """Whether several processes can share the stage's batches. The codec cannot: its codebook follows what it sees."""
    return row.objective != "codec" and schedule(row, preset_name).batch % processes == 0


def last_stage(run: Path) -> Path:
    """The checkpoint of the latest stage that is done. Raises `ValueError` if none is."""
    done = [run / row.name for row in recipe("nano") if is_done(run, row.name)]
    if not done:
        raise ValueError(f"{run} has no finished stage")
    return done[-1]


def commit() -> str:
    """The commit of the code that runs, "" outside a repository."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


class _Board:
    """TensorBoard's writer, opened with the first number."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.writer = folder, None

    def __enter__(self) -> _Board:
        return self

    def __exit__(self, *_) -> None:
        if self.writer is not None:
            self.writer.close()

    def write(self, step: int, metrics: dict[str, float]) -> None:
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.folder))
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)


def _tokenizer(row: Stage, config: ParleyConfig, run: Path, seed: int) -> Tokenizer | None:
    """The first stage of the language makes the tokenizer; later ones inherit it; speech alone needs none."""
    for parent in row.after:
        if (tokenizer := Checkpoint.open(run / parent).tokenizer()) is not None:
            return tokenizer
    if "language" not in row.trains:
        return None
    # Made once: a resumed stage must find the ids its weights were trained with, whatever became of the corpus.
    path = work_folder(run, row.name) / "tokenizer.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{ranks.rank()}.part")
        temporary.write_text(first_tokenizer(config.language, seed).to_str())
        temporary.replace(path)
    return Tokenizer.from_file(str(path))


def _samples(row: Stage, numbers: Schedule, data: StageData) -> dict[str, int]:
    """How many samples of each source the stage saw."""
    total = numbers.steps * numbers.batch
    return data.mixture.counts(total) if row.objective == "next_token" else {name: total for name in numbers.mixture}


def _start(
    name: str, run: Path, preset_name: str, seed: int, steps: int | None, bar: int, threads: int, processes: int = 1
) -> subprocess.Popen:
    """What trains one stage: a process or several that share it. Its standard error, with the bar, is ours."""
    arguments = json.dumps(
        {
            "name": name, "run": str(run), "preset_name": preset_name, "seed": seed, "steps": steps, "bar": bar,
            "processes": processes,
        }
    )  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen([sys.executable, "-m", "training.launch.local", arguments], env=environment)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"CPU, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
    return name if ranks.count() == 1 else f"{ranks.count()} × {name}"


def main(arguments: str) -> int:
    """The stage process: trains, and says in one line why it could not."""
    settings = json.loads(arguments)
    name, run, preset_name = settings.pop("name"), Path(settings.pop("run")), settings.pop("preset_name")
    try:
        with ranks.joined(settings.pop("processes", 1), [sys.executable, "-m", "training.launch.local", arguments]):
            run_stage(name, run, preset_name, resume=True, **settings)
    except (StageInterruptionError, ValueError) as error:
        if ranks.leads():
            print(error, file=sys.stderr)
        return 75 if isinstance(error, StageInterruptionError) else 1  # EX_TEMPFAIL: try again
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
