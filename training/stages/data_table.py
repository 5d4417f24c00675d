"""What a stage will learn from, said before it starts: a line for each source, and what is missing."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from training.data.heldout import CHECKED, FEWEST, FEWEST_SPEAKERS
from training.data.mix import RECORDS, SPEECH
from training.data.shares import learned_kinds
from training.stages.user_data import Learned, UserData

COLUMNS = ("source", "kind", "records", "bad", "held out", "learned from", "samples an epoch", "share")
TEXTS = 2  # columns of text, in front


def data_table(data: UserData) -> str:
    """The sources with their counts, the samples and steps of the stage, and remarks."""
    rows = [COLUMNS, *(_row(one) for one in data.learned)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head = f"stage {data.stage.name} ({data.stage.title}) learns from {data.mix.path}"
    lines = [head, *(_line(row, widths) for row in rows), total(data), *remarks(data)]
    return "\n  ".join(lines)


def _row(one: Learned) -> tuple[str, ...]:
    records, split = len(one.mixed.source), one.split
    counts = (records, len(split.bad), len(split.held_out), len(split.learned), one.samples)
    cells = [f"{count:,}" for count in counts]
    if records > CHECKED:
        cells[1] = "?"
    share = 100 * one.samples / max(1, len(split.learned))
    return (one.mixed.name, one.mixed.kind, *cells, f"{share:.3g} %")


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    padded = zip(row, widths, strict=True)
    return "  ".join(
        cell.ljust(width) if number < TEXTS else cell.rjust(width) for number, (cell, width) in enumerate(padded)
    ).rstrip()


def total(data: UserData) -> str:
    """Samples and steps of the whole stage."""
    schedule, samples = data.schedule, len(data.epochs)
    steps = f"{schedule.steps:,} step{'s' if schedule.steps > 1 else ''} of {schedule.batch:,} samples"
    if not data.steps_asked:
        return f"{samples:,} samples an epoch × {schedule.epochs} = {steps}"
    epochs = schedule.steps * schedule.batch / samples
    return f"{samples:,} samples an epoch; {steps}, as asked: {epochs:.3g} epochs"


def remarks(data: UserData) -> Iterator[str]:
    """What is missing, and what is otherwise than a user may expect."""
    present = {one.mixed.kind for one in data.learned}
    if RECORDS not in present:
        for kind in learned_kinds(data.schedule):
            if kind not in present:
                without = "; so the model gets no end-of-turn head" if kind == "cut_questions" else ""
                yield f"no {kind}: the stage learns from them too, and {data.mix.path.name} has none{without}"
    for one in data.learned:
        yield from _remarks_on(one)
    for kind, like in data.schedule.as_many.items():
        spoken, written = (samples_of(data, kinds) for kinds in ([kind], like))
        if 0 < spoken < written:
            yield f"{spoken:,} {kind} for {written:,} {' and '.join(like)}; `parley data speak` makes more"
    yield from _codebook_remarks(data)
    if unused := [mixed.name for mixed in data.mix.sources if mixed.kind not in present]:
        yield f"this stage does not learn from {', '.join(unused)}"


def _codebook_remarks(data: UserData) -> Iterator[str]:
    if data.stage.objective != "codec":
        return
    from training.objectives.codec import SPEAKER_START_AFTER as FIRST

    if (seen := data.schedule.steps * data.schedule.batch) < FIRST:
        yield f"the codec's codes are made from its first {FIRST:,} samples; {seen:,} make none: it will write noise"


def samples_of(data: UserData, kinds: Collection[str]) -> int:
    """Samples that an epoch has of these kinds."""
    return sum(one.samples for one in data.learned if one.mixed.kind in kinds)


def _remarks_on(one: Learned) -> Iterator[str]:
    name, records = one.mixed.name, len(one.mixed.source)
    if not len(one.split.held_out):
        why = f"under {FEWEST} records" if records < FEWEST else f"too few {one.split.by}s differ"
        yield f"{name}: nothing is held out ({why}), so no figures on it"
    elif one.mixed.kind in SPEECH and one.split.by == "record":
        yield f"{name}: under {FEWEST_SPEAKERS} speakers, so single utterances are held out"
    if records > CHECKED:
        yield f"{name}: over {CHECKED:,} records, so bad ones are found as they are read; `parley data check` finds all"
