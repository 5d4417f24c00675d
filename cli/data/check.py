"""`parley data check`: look at every record as training will, and say what is in them and what is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from parley.config import ParleyConfig
    from training.data.checking.report import SourceReport
    from training.data.mix import Mix

SHOWN = 20  # bad records printed in full


def check(
    data: Annotated[Path, typer.Argument(help="mix.yaml, or a file or folder of records")],
    kind: Annotated[
        str, typer.Option(help="Of a file or folder: records (dialogues), or transcriptions or speech (utterances)")
    ] = "records",
    media: Annotated[Path | None, typer.Option(help="Folder of the media files [default: the records' own]")] = None,
    format: Annotated[str, typer.Option(help="Of a file or folder [default: found out]")] = "auto",
    tokenizer: Annotated[
        Path | None, typer.Option(help="Count tokens: a checkpoint, or a Hugging Face folder with a tokenizer")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Preset whose tiles and chat format are used, unless --tokenizer is a checkpoint")
    ] = "vita-7b",
    sequence_length: Annotated[int, typer.Option(min=1, help="Records of more tokens are bad")] = 6200,
    skip_files: Annotated[
        bool, typer.Option("--skip-files", help="Do not look at media files; counts no tokens")
    ] = False,
    show: Annotated[int, typer.Option(min=0, help="How many bad records to print")] = SHOWN,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all that was found to this file")] = None,
    progress: Annotated[
        Path | None, typer.Option(help="Folder to keep what was found in, so that a check that is stopped goes on")
    ] = None,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one a core")] = 0,
) -> None:
    """Read every record and decode its media whole, as training will; exit with 1 if any is bad.

    \b
    parley data check mix.yaml --tokenizer Qwen2.5-7B-Instruct --json report.json
    parley data check records.jsonl --media photos
    parley data check train-clean-100.jsonl --kind transcriptions
    """
    from training.data.checking.progress import Progress
    from training.data.checking.record_check import RecordCheck
    from training.data.checking.report import SourceReport
    from training.data.checking.scan import scan
    from training.data.sample_length import SampleLength

    if json_file is not None and not json_file.absolute().parent.is_dir():  # said before the checking
        raise ValueError(f"--json {json_file}: there is no folder {json_file.parent}")
    config, words = _model(tokenizer, model)
    longest = sequence_length if words is not None and not skip_files else 0
    length = SampleLength(config, words) if longest else None
    mix = _mix(data, kind, media, format, skip_files)
    reports, kept = [], []
    try:
        for mixed in mix.sources:
            one = RecordCheck(mixed, config, length, longest, not skip_files)
            kept.append(Progress(progress, one))
            found = scan(one, jobs or os.cpu_count() or 1, kept[-1])
            reports.append(SourceReport(mixed.name, mixed.kind, len(mixed.source), found, longest))
            typer.echo(reports[-1].text(show))
    except KeyboardInterrupt:
        goes_on = "the same command goes on" if progress else "with --progress FOLDER it could go on"
        raise CommandError(f"stopped; {goes_on}", 130) from None
    if json_file is not None:
        json_file.write_text(json.dumps(_described(data, reports), indent=2, ensure_ascii=False) + "\n")
    for each in kept:
        each.forget()
    if any(report.bad for report in reports):
        raise typer.Exit(1)


def _described(data: Path, reports: list[SourceReport]) -> dict:
    sources = [report.describe() for report in reports]
    totals = {name: sum(source[name] for source in sources) for name in ("records", "good", "bad")}
    return {"data": str(data), **totals, "sources": sources}


def _mix(data: Path, kind: str, media: Path | None, format: str, skip_files: bool) -> Mix:
    """mix.yaml, or a file or folder as a mix of one source. Raises `ValueError` for options that only one takes."""
    from training.data.mix import MIX_SUFFIXES, RECORDS, SPEECH, Kind, Mix, MixSource, read_mix
    from training.data.sources.dialogues import open_dialogues
    from training.data.sources.speech import open_speech

    if data.suffix in MIX_SUFFIXES:
        if media is not None or kind != RECORDS or format != "auto" or skip_files:
            raise ValueError(f"{data} names media, kinds and formats itself; leave the options out")
        return read_mix(data)
    known = (RECORDS, *Kind.__args__)
    if kind not in known:
        raise ValueError(f"no kind {kind!r}; there are: {', '.join(known)}")
    if kind in SPEECH:
        source = open_speech(data, media=media, format=format)
    else:
        source = open_dialogues(data, media=media, format=format, need_files=not skip_files)
    return Mix(data, (MixSource(data.name, kind, source),))


def _model(folder: Path | None, model: str) -> tuple[ParleyConfig, Tokenizer | None]:
    """The sizes that decide how many tokens a picture is, and the tokenizer. Raises `ValueError` if there is none."""
    from parley.checkpoints.checkpoint import Checkpoint
    from parley.checkpoints.importers.tokenizer import read_tokenizer
    from parley.config import preset

    if folder is None:
        return preset(model), None
    if (folder / "manifest.json").is_file():
        checkpoint = Checkpoint.open(folder)
        config, found = checkpoint.config, checkpoint.tokenizer()
    else:
        config, found = preset(model), read_tokenizer(folder)
    if found is None:
        raise ValueError(f"{folder} has no tokenizer: neither tokenizer.json nor vocab.json and merges.txt")
    return config, found
