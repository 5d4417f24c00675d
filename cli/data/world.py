"""`parley data world`: write nano's world as records in LLaVA/VITA format, with their media."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from PIL.Image import Image

    from training.data.sample import Sample
    from training.data.world import World


def world(
    out: Annotated[Path, typer.Option(help="A folder to make; it gets records.jsonl, the media and sheet.png")],
    count: Annotated[int, typer.Option(min=1, help="Samples of each sort")] = 8,
    seed: Annotated[int, typer.Option(help="Of the world")] = 0,
    split: Annotated[str, typer.Option(help="train or heldout")] = "train",
) -> None:
    """Write pictures, videos, dialogues, small talk and speech of nano's world as LLaVA/VITA records."""
    from training.data.record_writer import write_records
    from training.data.records import read_records
    from training.data.world import World
    from training.data.world.sheet import sheet

    place = World(seed, split)
    file = write_records(samples(place, count), out)
    sheet(pictures(place, count)).save(out / "sheet.png")
    _, report = read_records(file)
    typer.echo(str(report))


def pictures(world: World, count: int) -> list[Image]:
    """At least eight pictures, then the frames of two videos: rows of eight of the sheet, if `count` is a multiple."""
    frames = [frame for index in range(2) for frame in world.video(index).messages[0]["content"][0]["video"]]
    return [world.picture(index)[1] for index in range(max(8, count))] + frames


def samples(world: World, count: int) -> Iterator[tuple[str, Sample]]:
    """(id, sample) pairs: `count` of each sort."""
    from training.data.world.refusals import absent_question, no_picture, outside_talk
    from training.data.world.two_pictures import two_pictures

    for index in range(count):
        yield f"caption-{index}", world.caption(index)
        yield f"dialog-{index}", world.dialog(index)
        yield f"spoken-{index}", world.spoken(world.dialog(index), index)
        yield f"video-{index}", world.video(index)
        yield f"talk-{index}", world.small_talk(index, turns=3)
        yield f"negative-{index}", world.negative(index)
        yield f"absent-{index}", absent_question(world, index)
        yield f"outside-{index}", outside_talk(world, index, turns=2)
        yield f"no-picture-{index}", no_picture(world, index, turns=2)
        yield f"two-pictures-{index}", two_pictures(world, index)
