"""`parley ask`: ask by voice or in writing, about a picture or a video, and hear the answer."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import grpc
import typer

from cli.client import Answer, Client, Question
from cli.errors import CommandError
from cli.stack import state
from parley.audio import from_pcm16, read_audio, to_pcm16, write_wav
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_pb2 import Sampling

app = typer.Typer(rich_markup_mode=None, add_completion=False)

SAMPLE_RATE = 16_000  # Hz, sent
MAX_AUDIO_SECONDS = 60
PLAYERS = (["paplay"], ["aplay", "-q"], ["afplay"], ["ffplay", "-nodisp", "-autoexit", "-loglevel", "quiet"])

Images = Annotated[list[Path], typer.Option(help="A picture the first question is about; may be repeated")]
Videos = Annotated[list[Path], typer.Option(help="A video the first question is about; may be repeated")]
Sounds = Annotated[list[Path], typer.Option(help="A spoken question, any sound file; each is a turn")]
Texts = Annotated[list[str], typer.Option(help="A written question; each is a turn, after the spoken ones")]


@app.command()
def ask(
    image: Images = (),
    video: Videos = (),
    audio: Sounds = (),
    text: Texts = (),
    session: Annotated[str, typer.Option(help="Go on with this session, which must exist")] = "",
    out: Annotated[Path | None, typer.Option(help="Write the spoken answer here; a second turn adds -2")] = None,
    play: Annotated[bool, typer.Option(help="Play the answer; without a player it is written to answer.wav")] = True,
    address: Annotated[str, typer.Option(help="host:port of a gateway; else the stack of this folder")] = "",
    instructions: Annotated[str, typer.Option(help="The system prompt")] = "",
    text_only: Annotated[bool, typer.Option(help="No spoken answer")] = False,
    temperature: Annotated[float, typer.Option(min=0, help="Of sampling; 0: always the likeliest word")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of sampling; the same seed gives the same answer")] = 0,
    at_once: Annotated[bool, typer.Option(help="Send sound at once, not as fast as it is spoken")] = False,
) -> None:
    """Ask, and hear the answer. Without --audio and --text, questions are read from the terminal, a line each.

    A line that is the name of a sound file is a spoken question. Exit status 1 if a turn fails.
    """
    questions = [Question(audio=read_question(path), paced=not at_once) for path in audio]
    questions += [Question(text=words) for words in text]
    for question in questions[:1]:
        question.images = [read_file(path, "picture") for path in image]
        question.videos = [read_file(path, "video") for path in video]
    configure = wire.Configure(
        session_id=session,
        turn_detection=wire.Configure.TURN_DETECTION_MANUAL,
        input_sample_rate=SAMPLE_RATE,
        instructions=instructions,
        sampling=Sampling(temperature=temperature, seed=seed),
        text_only=text_only,
    )
    pictures = [] if questions else [(read_file(path, "picture"), "image") for path in image]
    pictures += [] if questions else [(read_file(path, "video"), "video") for path in video]
    turns = iter(questions) if questions else from_terminal(pictures, at_once)
    try:
        asyncio.run(converse(address or running_gateway(), configure, turns, out, play))
    except grpc.RpcError as error:
        raise CommandError(f"{error.code().name}: {error.details()}") from None
    except ConnectionError as error:
        raise CommandError(str(error)) from None


async def converse(address: str, configure: wire.Configure, questions, out: Path | None, play: bool) -> None:
    async with Client(address) as client:
        await client.open(configure)
        for number, question in enumerate(questions, 1):
            answer = await client.ask(question, show_progress)
            print_answer(answer)
            if answer.error is not None:
                hint = f" (try again in {answer.error.retry_after:g} s)" if answer.error.retry_after else ""
                raise CommandError(f"{answer.error.code}: {answer.error.message}{hint}")
            if answer.audio:
                give_sound(answer, out, play, number)
        typer.echo(f"session    {client.session_id}")


def running_gateway() -> str:
    running = state.read()
    if running is None or not running.alive or not running.ready:
        raise CommandError("no stack runs in this folder; start it with `parley up`, or name a gateway with --address")
    return running.gateway


def read_question(path: Path) -> bytes:
    """A sound file → raw samples at `SAMPLE_RATE`. Raises `ValueError` for what cannot be heard."""
    try:
        return to_pcm16(read_audio(path, SAMPLE_RATE, max_seconds=MAX_AUDIO_SECONDS)).tobytes()
    except FileNotFoundError as error:
        raise ValueError(str(error)) from None


def read_file(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"the {what} {path} cannot be read: {error.strerror}") from None


def from_terminal(media: list[tuple[bytes, str]], at_once: bool):
    """Questions as they are typed, until an empty line or the end of input."""
    if sys.stdin.isatty():
        typer.echo("ask in writing, or name a sound file; an empty line ends")
    for line in iter(lambda: sys.stdin.readline().strip(), ""):
        is_file = os.path.isfile(line)  # of a line too long to be a name, `Path.is_file` raises
        question = Question(audio=read_question(Path(line)), paced=not at_once) if is_file else Question(text=line)
        question.images = [data for data, kind in media if kind == "image"]
        question.videos = [data for data, kind in media if kind == "video"]
        media = []
        yield question


def show_progress(event: wire.ServerEvent) -> None:
    """On a terminal, the answer appears while it is spoken."""
    if not sys.stdout.isatty():
        return
    if event.WhichOneof("event") == "heard" and not event.heard.final:
        typer.echo(f"\r… {event.heard.text}", nl=False)
    if event.WhichOneof("event") == "text":
        typer.echo(event.text.text, nl=False)


def print_answer(answer: Answer) -> None:
    if sys.stdout.isatty():
        typer.echo("\r\033[K", nl=False)
    if answer.heard:
        typer.echo(f"heard      {answer.heard}")
    if answer.state:
        typer.echo(f"state      {answer.state} ({answer.probability:.0%})")
    if answer.text:
        typer.echo(f"answer     {answer.text.strip()}")
    if answer.first_audio:
        parts = answer.latency
        typer.echo(
            f"latency    {answer.first_audio * 1000:.0f} ms from the end of the question to the first audio here: "
            f"speech encoder {parts.speech_encoder * 1000:.0f}, first token {parts.first_token * 1000:.0f}, "
            f"first clause {parts.first_clause * 1000:.0f}, speech decoder {parts.speech_decoder * 1000:.0f}, "
            f"network {max(0.0, answer.first_audio - parts.first_audio) * 1000:.0f}"
        )
        if parts.vision_encoder:
            typer.echo(f"           vision encoder {parts.vision_encoder * 1000:.0f} ms, while the question was asked")
        typer.echo(
            f"           {answer.audio_seconds:.2f} s of speech in {answer.total:.2f} s "
            f"(real-time factor {answer.total / answer.audio_seconds:.2f})"
        )


def give_sound(answer: Answer, out: Path | None, play: bool, number: int) -> None:
    """Plays the answer, or writes it where that was asked for or nothing here can play."""
    player = next((command for command in PLAYERS if shutil.which(command[0])), None)
    path = out or Path("answer.wav")
    if number > 1:
        path = path.with_stem(f"{path.stem}-{number}")
    if out is None and play and player is not None and sys.stdout.isatty():
        write_wav(path, from_pcm16(answer.audio), answer.sample_rate)
        subprocess.run([*player, str(path)], check=False)
    else:
        write_wav(path, from_pcm16(answer.audio), answer.sample_rate)
    typer.echo(f"audio      {path}")
