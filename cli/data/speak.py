"""`parley data speak`: make the spoken halves of questions, and sounds that must not be answered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError

if TYPE_CHECKING:
    from training.data.speak.engine import Engine
    from training.data.speak.job import Outcome
    from training.data.speak.manifest import Summary
    from training.data.speak.settings import SpeakSettings


def speak(
    records: Annotated[Path, typer.Argument(help="Dialogues of any format that training reads")],
    out: Annotated[Path, typer.Option(help="A folder to make, or to go on with")],
    command: Annotated[
        str,
        typer.Option(help="A program: {text} or {text_file}, {voice}, {speed}, {out} (a WAV)"),
    ] = "",
    url: Annotated[str, typer.Option(help="OpenAI's form of HTTP, as http://127.0.0.1:8080/v1")] = "",
    espeak: Annotated[bool, typer.Option("--espeak", help="espeak-ng, built in")] = False,
    model: Annotated[str, typer.Option(help="What --url is asked for")] = "tts-1",
    key_variable: Annotated[str, typer.Option(help="Environment variable with the key of --url")] = "PARLEY_API_KEY",
    voices: Annotated[str, typer.Option(help="Names with commas between, or a file with one a line")] = "",
    speeds: Annotated[str, typer.Option(help="Lowest:highest; 1 is the voice's own speed")] = "",
    noise: Annotated[Path | None, typer.Option(help="Folder of noise [default: it is generated]")] = None,
    music: Annotated[Path | None, typer.Option(help="Folder of music [default: none]")] = None,
    noise_chance: Annotated[float, typer.Option(help="Of noise behind a question")] = 0.5,
    music_chance: Annotated[float, typer.Option(help="Of music behind a question")] = 0.2,
    room_chance: Annotated[float, typer.Option(help="Of a reverberant room")] = 0.3,
    negatives: Annotated[int, typer.Option(help="How many records of noise, music and speech to others")] = 0,
    unaddressed: Annotated[
        Path | None, typer.Option(help="Text file: a line a sentence that is said to others")
    ] = None,
    cut: Annotated[float, typer.Option(help="Share of the records of which a question is also cut short")] = 0.0,
    media: Annotated[Path | None, typer.Option(help="Folder of the media files [default: the records' own]")] = None,
    format: Annotated[str, typer.Option(help="auto, json, parquet or webdataset")] = "auto",
    share: Annotated[float, typer.Option(help="Share of the records that are spoken, drawn by the seed")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of all that is drawn")] = 0,
    longest_text: Annotated[
        int, typer.Option(min=1, help="Characters of a question; records with a longer one are left out")
    ] = 600,
    jobs: Annotated[int, typer.Option(min=1, help="Texts spoken at once")] = 4,
    attempts: Annotated[int, typer.Option(min=1, help="Of a text, with growing pauses")] = 4,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds of an attempt")] = 120.0,
) -> None:
    """Speak the written questions of records with any text-to-speech; the answers stay as they are.

    Writes records.jsonl, negatives.jsonl and cut.jsonl with their sound files, and manifest.json. The same command goes
    on where it was stopped; what was not spoken is tried again. Exits with 1 if a record failed or is bad.
    """
    from training.data.sources.dialogues import open_dialogues
    from training.data.speak.negatives import read_sentences
    from training.data.speak.recording import Recording
    from training.data.speak.retry import Retries
    from training.data.speak.run import SpeakRun
    from training.data.speak.sounds import SoundFolder

    settings = _settings(
        seed=seed, share=share, noise_chance=noise_chance, music_chance=music_chance, room_chance=room_chance,
        negatives=negatives, cut=cut, longest_text=longest_text,
        voices=_voices(voices, command, url, espeak), speeds=_speeds(speeds, command, espeak),
    )  # fmt: skip
    run = SpeakRun(
        path=records,
        source=open_dialogues(records, media=media, format=format),
        settings=settings,
        engine=_engine(command, url, espeak, model, os.environ.get(key_variable, ""), timeout),
        recording=Recording(
            noise_chance, music_chance, room_chance,
            noise=SoundFolder(noise) if noise else None, music=SoundFolder(music) if music else None,
        ),
        sentences=read_sentences(unaddressed) if unaddressed else (),
        out=out, jobs=jobs, retries=Retries(attempts),
    )  # fmt: skip
    try:
        summary, outcome = run.run()
    except KeyboardInterrupt:
        raise CommandError("stopped; what is done is kept, and the same command goes on", 130) from None
    typer.echo(_told(out, summary, outcome))
    if outcome.failed or outcome.bad:
        raise typer.Exit(1)


def _engine(command: str, url: str, espeak: bool, model: str, key: str, timeout: float) -> Engine:
    """The one that is asked for. Raises `ValueError` unless it is exactly one."""
    if (command != "") + (url != "") + espeak != 1:
        raise ValueError("say what speaks: one of --command, --url and --espeak")
    if command:
        from training.data.speak.command import CommandEngine

        return CommandEngine(command, timeout)
    if url:
        from training.data.speak.http import HttpEngine

        return HttpEngine(url, model, key, timeout)
    from cli.data.espeak import EspeakEngine

    return EspeakEngine(timeout)


def _settings(**values) -> SpeakSettings:
    """Raises `ValueError` in one line for a value that cannot be."""
    from pydantic import ValidationError

    from training.data.speak.settings import SpeakSettings

    try:
        return SpeakSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        option = "".join(f"--{str(name).replace('_', '-')}: " for name in first["loc"][:1])
        raise ValueError(f"{option}{first['msg'].removeprefix('Value error, ')}") from None


def _voices(text: str, command: str, url: str, espeak: bool) -> tuple[str, ...]:
    if text:
        lines = Path(text).read_text(encoding="utf-8").splitlines() if Path(text).is_file() else text.split(",")
        return tuple(filter(None, (line.strip() for line in lines)))
    if espeak:
        from cli.data.espeak import voices

        return voices()
    if "{voice}" in command:
        raise ValueError("the command takes a {voice}: name some by --voices")
    return ("alloy",) if url else ("default",)


def _speeds(text: str, command: str, espeak: bool) -> tuple[float, float]:
    if not text:
        from cli.data.espeak import SPEEDS

        return SPEEDS if espeak else (0.9, 1.15) if "{speed}" in command else (1.0, 1.0)
    low, _, high = text.partition(":")
    try:
        return float(low), float(high or low)
    except ValueError:
        raise ValueError(f"--speeds is LOWEST:HIGHEST, as 0.9:1.2, not {text!r}") from None


def _told(out: Path, summary: Summary, outcome: Outcome) -> str:
    made = ", ".join(f"{count} in {name}.jsonl" for name, count in summary.records.items()) or "no records"
    lines = [f"{out}: {made}; {summary.questions} questions, {summary.seconds / 3600:.2f} h of sound"]
    lines += [f"  {count} left out: {reason}" for reason, count in outcome.left_out.most_common()]
    if outcome.failed or outcome.bad:
        lines.append(f"  {outcome.failed} failed, {outcome.bad} bad, all of them in {out / 'failed.jsonl'}; the first:")
        lines += [f"    {line}" for line in outcome.named[:5]]
    if outcome.failed:
        lines.append("  the same command tries what failed again")
    return "\n".join(lines)
