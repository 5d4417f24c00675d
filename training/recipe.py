"""THE TABLE: the stages of the recipe, each with the parts it trains, its objective, its data and its schedule.

Notable points:
- The eight stages of the VITA-1.5 paper, and two pretraining stages that only `nano` has, because it starts from
  random weights (at full size Qwen2.5 and InternViT are loaded instead).
- A stage names the parts it trains; all other parts are frozen. `reads` are the frozen parts its forward pass needs.
- A stage may start when all stages in `after` are finished, so independent stages can run at the same time.
- Two schedules a stage: `nano`, for two CPU cores and its own world, and `full`, for the user's data. In `full` the
  numbers are the paper's and those of the published training scripts (1.1, 1.2, 1.3, 2.2); the rest is ours. The source
  stands beside each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from parley.config import PARTS

Objective = Literal["cells", "next_token", "ctc", "codec", "speech_decoder"]
Column = Literal["nano", "full"]  # the two schedules of a stage


@dataclass(frozen=True)
class Schedule:
    """Learning rates, batch size, number of steps and data mixture of a stage."""

    lr: float  # peak learning rate: linear warm-up, then cosine decay
    batch: int  # samples (dialogues, utterances, pictures) in a step, over all processes
    steps: int = 0  # optimizer steps; 0 means `epochs` passes over the data
    epochs: int = 1
    mixture: dict[str, float] = field(default_factory=dict)  # source of nano's world → percent of the samples
    shares: dict[str, float] = field(default_factory=dict)  # kind of the user's data → share of it in an epoch
    # Kind of the user's data → kinds: as many of it as of these together, or all where it has fewer.
    as_many: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # Part → the sources or kinds that it learns from, where these are not all: what `--only` this part needs.
    taught_by: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lr_of: dict[str, float] = field(default_factory=dict)  # part → its peak learning rate, where it differs from `lr`
    anew: tuple[str, ...] = ()  # trained parts that start from random weights, although an earlier stage has them
    # Peak learning rate of Muon for the attention matrices; 0 means AdamW for all parameters. With Muon, attention that
    # finds a token by its content is learned in a third of the steps.
    muon: float = 0.0
    warmup: float = 0.03  # share of the steps
    floor: float = 0.0  # the cosine decay ends at this share of the peak
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    clip: float = 1.0  # largest norm of the gradient
    sequence_length: int = 6200  # tokens of a sample, at most (paper 3.1)
    # Of one forward pass, at most: embeddings of the language model, mel frames (2.1a), codec tokens (3.1, 3.2). A
    # sample that has more has a pass of its own. A step makes as many passes as its batch needs.
    tokens: int = 32_768
    save_every: int = 500  # steps between two saved states
    validate_every: int = 500  # steps


@dataclass(frozen=True)
class Stage:
    """One stage of the recipe."""

    name: str
    title: str
    trains: tuple[str, ...]
    objective: Objective
    nano: Schedule
    full: Schedule | None = None  # None: a stage of `nano` only
    reads: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    state: bool = False  # whether the loss of the state head is added
    mixed_precision: bool = True  # bf16 on devices that are faster with it (`training.distributed.precision`)

    @property
    def loads(self) -> tuple[str, ...]:
        """The parts that are in memory while the stage runs, in the order of `PARTS`."""
        return tuple(part for part in PARTS if part in self.trains or part in self.reads)

    @property
    def reads_only(self) -> tuple[str, ...]:
        """The parts that are in memory and frozen."""
        return tuple(part for part in self.loads if part not in self.trains)


# What the published scripts have in common: AdamW as Hugging Face's Trainer sets it, no weight decay.
PUBLISHED = {"betas": (0.9, 0.999), "weight_decay": 0.0, "tokens": 6200, "save_every": 200}

VISION = ("vision_encoder", "vision_adapter")
SPEECH = ("speech_encoder", "speech_adapter", "speech_prompt")

STAGES = (
    Stage(
        name="0.1", title="language pretraining", objective="next_token",
        trains=("language",),
        nano=Schedule(
            lr=2e-3, muon=3e-3, steps=350, batch=16, sequence_length=384, validate_every=100, save_every=100,
            mixture={"small_talk": 50, "plain_outside": 12, "plain_copies": 38},
        ),
    ),
    Stage(
        name="0.2", title="vision pretraining", objective="cells",
        trains=("vision_encoder",),
        nano=Schedule(lr=1.5e-3, muon=2e-3, steps=12000, batch=32, mixture={"pictures": 100}),
    ),
    Stage(
        name="1.1", title="vision alignment", objective="next_token",
        trains=("vision_adapter",), reads=("vision_encoder", "language"), after=("0.1", "0.2"),
        # lr and data: paper 4.1, stage 1.1; batch: published script, 32 GPUs × 8 × 2 passes
        full=Schedule(lr=5e-4, batch=512, shares={"captions": 0.2}, **PUBLISHED),
        nano=Schedule(
            lr=2e-4, steps=100, batch=8, sequence_length=384, validate_every=100,
            mixture={"captions": 70, "plain_questions": 30},
        ),
    ),
    Stage(
        name="1.2", title="vision understanding", objective="next_token",
        trains=(*VISION, "language"), after=("1.1",),
        # lr and data: paper 4.1, stage 1.2; batch: published script
        full=Schedule(lr=2e-5, batch=512, shares={"captions": 1.0}, **PUBLISHED),
        nano=Schedule(
            lr=2e-3, muon=1e-2, lr_of={"vision_encoder": 1e-5, "vision_adapter": 2e-3}, warmup=0.1,
            floor=0.2, steps=700, batch=256, sequence_length=384, save_every=60, validate_every=60,
            mixture={"lookups": 100},
            # Attention that finds a thing by its name forms in a fresh language model, not in 0.1's: docs/recipe.md.
            anew=("language",),
        ),
    ),
    Stage(
        name="1.3", title="vision instruction tuning", objective="next_token",
        trains=(*VISION, "language"), after=("1.2",),
        # lr and data: paper 4.1, stage 1.3; batch: published script. Dialogues of text alone count as questions.
        full=Schedule(lr=2e-5, batch=512, shares={"questions": 1.0, "text": 1.0, "captions": 0.2}, **PUBLISHED),
        nano=Schedule(
            lr=1.5e-3, muon=7e-3, lr_of={"vision_encoder": 1e-4, "vision_adapter": 1e-3}, steps=1650, batch=256,
            sequence_length=384, save_every=50, validate_every=100,
            mixture={
                "single_questions": 39, "word_dropout_questions": 10, "duration_repeated_questions": 17, "questions": 2,
                "two_pictures": 8, "videos": 5, "small_talk": 3, "no_picture": 2, "outside": 3,
                "duration_repeated_talk": 3, "copies": 2, "duration_repeated_copies": 6,
            },
        ),
    ),
    Stage(
        name="2.1a", title="audio alignment, encoder", objective="ctc",
        trains=("speech_encoder", "ctc_head"),
        # data: paper 4.1, stage 2.1; no script is published, so lr (as of the adapters) and batch are ours
        full=Schedule(
            lr=5e-4, batch=512, shares={"transcriptions": 1.0}, **(PUBLISHED | {"tokens": 48_000, "weight_decay": 0.01})
        ),
        nano=Schedule(
            lr=1.5e-3, muon=4e-3, steps=7500, batch=16, save_every=200, validate_every=500,
            mixture={"sentences": 50, "shuffled_words": 50},
        ),
    ),
    Stage(
        name="2.1b", title="audio alignment, adapter", objective="next_token",
        trains=("speech_adapter", "speech_prompt"), reads=("speech_encoder", "language"), after=("1.3", "2.1a"),
        # lr: paper 4.1, as of all adapters; batch is ours
        full=Schedule(lr=5e-4, batch=512, shares={"transcriptions": 1.0}, **PUBLISHED),
        nano=Schedule(
            lr=2e-3, steps=1000, batch=16, sequence_length=384, save_every=100, validate_every=500,
            mixture={"transcriptions": 100},
        ),
    ),
    Stage(
        name="2.2", title="audio instruction tuning", objective="next_token", state=True,
        trains=(*VISION, *SPEECH, "language", "state_head", "end_of_turn_head"), reads=("ctc_head",), after=("2.1b",),
        # lr and data: paper 4.1, stage 2.2: 4 % of the captions, 20 % of the questions, half of these spoken; questions
        # cut short are ours. The paper trains the speech encoder too; the published script freezes it. batch: published
        # script.
        full=Schedule(
            lr=1e-5, batch=512, **PUBLISHED,
            shares={"captions": 0.04, "questions": 0.1, "text": 0.1, "negatives": 1.0, "cut_questions": 1.0},
            as_many={"spoken_questions": ("questions", "text")},
            taught_by={"end_of_turn_head": ("spoken_questions", "cut_questions")},
        ),
        nano=Schedule(
            lr=3e-4, muon=1e-3, steps=1600, batch=64, sequence_length=512, save_every=100, validate_every=400,
            lr_of={
                "vision_encoder": 1e-4, "vision_adapter": 3e-4, "speech_encoder": 3e-4, "speech_adapter": 2e-3,
                "speech_prompt": 2e-3, "state_head": 1e-3, "end_of_turn_head": 1e-3,
            },
            taught_by={"end_of_turn_head": ("cut_questions",)},
            mixture={
                "single_questions": 10, "word_dropout_questions": 8, "spoken_single_questions": 21,
                "spoken_word_dropout_questions": 12, "spoken_questions": 2, "two_pictures": 2, "spoken_two_pictures": 4,
                "small_talk": 1, "spoken_small_talk": 7, "no_picture": 1, "spoken_no_picture": 2, "outside": 1,
                "spoken_outside": 3, "captions": 1, "videos": 3, "spoken_videos": 5, "negatives": 8,
                "cut_questions": 9,
            },
        ),
    ),
    Stage(
        name="3.1", title="codec", objective="codec", mixed_precision=False,  # bf16 is not precise enough for phases
        trains=("codec_encoder", "codec_decoder"),
        # data: paper 4.1, stage 3; no script is published: the numbers are ours
        full=Schedule(lr=2e-4, batch=64, epochs=20, shares={"speech": 1.0}, **PUBLISHED),
        nano=Schedule(
            lr=1.5e-3, steps=4400, batch=8, save_every=200, validate_every=800, mixture={"speech": 100}
        ),
    ),
    Stage(
        name="3.2", title="speech decoder", objective="speech_decoder",
        trains=("speech_decoder",), reads=("language", "codec_encoder", "codec_decoder"), after=("2.2", "3.1"),
        # lr: paper 4.1, as of all adapters; the other numbers are ours
        full=Schedule(lr=5e-4, batch=128, epochs=5, shares={"speech": 1.0}, **(PUBLISHED | {"tokens": 16_384})),
        nano=Schedule(
            lr=1.5e-3, muon=8e-3, steps=6000, batch=16, save_every=200, validate_every=2500, mixture={"speech": 100},
        ),
    ),
)  # fmt: skip


def find_stage(name: str) -> Stage:
    """The stage of that name. Raises `ValueError` if there is none."""
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise ValueError(f"no stage {name!r}; there are: {', '.join(stage.name for stage in STAGES)}")


def recipe(preset: str) -> tuple[Stage, ...]:
    """The stages that make a preset, in order; without the pretraining stages for all presets but `nano`."""
    return STAGES if preset == "nano" else tuple(stage for stage in STAGES if stage.full is not None)


def schedule_for(stage: Stage, preset: str) -> Schedule:
    """The schedule of a stage for a preset. Raises `ValueError` if the preset does not have the stage."""
    schedule = stage.nano if preset == "nano" else stage.full
    if schedule is None:
        raise ValueError(
            f"stage {stage.name} ({stage.title}) belongs to nano only; {preset} starts from published weights"
        )
    return schedule


def column_for(preset: str, lineage: Sequence[str]) -> Column:
    """The column of the recipe that a checkpoint of this preset is trained further by.

    `nano` only where nano's own recipe made every part. One that was imported, or initialised from Qwen2.5 and
    InternViT, has parts that nano's learning rates would spoil, whatever the preset of the others.
    """
    own = preset == "nano" and set(lineage) <= {stage.name for stage in STAGES}
    return "nano" if own else "full"
