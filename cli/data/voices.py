"""`parley data voices`: the natural voices that `nano` learns from, which of them are installed, and their speech."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError

NPM = "npm"


def voices(
    styles: Annotated[
        str, typer.Option(help="Install Kokoro's style files: npm, the archive of kokoro-js, or a folder of them")
    ] = "",
    make: Annotated[bool, typer.Option("--make", help="Make the speech that training will hear")] = False,
    seed: Annotated[int, typer.Option(help="Of that training")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that make speech")] = 2,
) -> None:
    """Say which natural voices and which judge are installed, and how to get the others.

    Training makes the speech it lacks itself; with --make it is ready before. Speech is kept in PARLEY_SPEECH_CACHE, or
    ~/.cache/parley/speech. The same command goes on where it was stopped.

    \b
    parley data voices --styles npm
    parley data voices --make --jobs 8
    """
    from training.data.world.speech.styles import fetch, install

    if styles:
        fetch() if styles == NPM else install(Path(styles))
    if make:
        _make(seed, jobs)
    typer.echo("\n".join(_told()))


def _make(seed: int, jobs: int) -> None:
    from tqdm import tqdm

    from training.data.world.pools import utterances
    from training.data.world.speech.making import make_all, not_made

    lacking = not_made(utterances(seed))
    try:
        with tqdm(total=len(lacking), desc="speech", unit="clip", dynamic_ncols=True) as bar:
            for _ in make_all(lacking, jobs):
                bar.update()
    except KeyboardInterrupt:
        raise CommandError("stopped; what is made is kept, and the same command goes on", 130) from None


def _told() -> list[str]:
    from training.data.world import judges
    from training.data.world.speech.engines import NATURAL
    from training.data.world.speech.folder import folder

    judge = judges.installed()
    files = [file.stat().st_size for file in folder().rglob("*.flac")]
    return [
        *(f"{name:8} {engine.missing() or _voices(name)}" for name, engine in NATURAL.items()),
        f"{'judge':8} {f'Whisper {judge.name}' if judge else judges.missing()}",
        f"{'cache':8} {folder()}: {len(files):,} clips, {sum(files) / 1e6:,.0f} MB",
    ]


def _voices(engine: str) -> str:
    """How many voices of an engine are trained, and how many are held out."""
    from training.data.world.voices import NATURAL_SEEN, NATURAL_UNSEEN

    seen, unseen = (len(voices.get(engine, ())) for voices in (NATURAL_SEEN, NATURAL_UNSEEN))
    return f"{seen} {'voice' if seen == 1 else 'voices'} trained, {unseen} held out"
