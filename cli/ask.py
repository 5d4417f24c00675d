"""`parley ask`: ask by voice or in writing, about a picture or a video, and hear the answer."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import grpc
import typer

from cli.client import Answer, Client, Question
from cli.errors import CommandError
from parley.media.audio import from_pcm16, read_audio, to_pcm16, write_wav
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling
from services.local import state

app = typer.Typer(rich_markup_mode=None, add_completion=False)

SAMPLE_RATE = 16_000  # Hz, sent
MAX_AUDIO_SECONDS = 60
START_SECONDS = 15.0  # that the gateway of a stack may take to be there, where it has ended
PLAYERS = (["paplay"], ["aplay", "-q"], ["afplay"], ["ffplay", "-nodisp", "-autoexit", "-loglevel", "quiet"])

Images = Annotated[
    list[Path], typer.Option(metavar="FILE", help="A picture that the first question is about; may be repeated")
]
Videos = Annotated[
    list[Path], typer.Option(metavar="FILE", help="A video that the first question is about; may be repeated")
]
Sounds = Annotated[
    list[Path], typer.Option(metavar="FILE", help="A spoken question, any sound file; may be repeated, each is a turn")
]
Texts = Annotated[
    list[str],
    typer.Option(metavar="WORDS", help="A written question; may be repeated, each is a turn after the spoken ones"),
]


@app.command()
def ask(
    image: Images = (),
    video: Videos = (),
    audio: Sounds = (),
    text: Texts = (),
    session: Annotated[
        str, typer.Option(metavar="ID", help="Go on with an earlier session: the id that it printed")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the spoken answer here, as WAV; a second turn's name gets -2"),
    ] = None,
    play: Annotated[bool, typer.Option(help="Play the answer on a terminal, where there is a player and no --out")] = (
        True
    ),
    address: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Of a gateway, with https:// for TLS; else the stack of this folder"),
    ] = "",
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Speak TLS, and trust this certificate (PEM)"),
    ] = None,
    instructions: Annotated[str, typer.Option(metavar="WORDS", help="The system prompt")] = "",
    text_only: Annotated[bool, typer.Option("--text-only", help="No spoken answer")] = False,
    temperature: Annotated[float, typer.Option(min=0, help="Of sampling; 0: always the likeliest word")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of sampling; the same seed gives the same answer")] = 0,
    at_once: Annotated[bool, typer.Option("--at-once", help="Send sound at once, not as fast as it is spoken")] = False,
) -> None:
    """Ask, and get a spoken answer: it is written to answer.wav, or where --out says.

    \b
    parley ask --text "hello"
    parley ask --audio examples/question.wav --image examples/scene.png
    parley ask                    type questions, a line each, until an empty line

    A typed line that is the name of a sound file is a spoken question. Exit status 1 if a turn fails. An API key is
    taken from the variable PARLEY_API_KEY.
    """
    if out is not None and not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}")
    questions = [Question(audio=read_question(path), paced=not at_once) for path in audio]
    questions += [Question(text=words) for words in text]
    for question in questions[:1]:
        question.images = [read_file(path, "picture") for path in image]
        question.videos = [read_file(path, "video") for path in video]
    config = wire.SessionConfig(
        turn_detection=wire.TURN_DETECTION_MANUAL,
        input_sample_rate=SAMPLE_RATE,
        sampling=Sampling(temperature=temperature, seed=seed),
        text_only=text_only,
    )
    if instructions:  # else those of the session stay
        config.instructions = instructions
    pictures = [] if questions else [(read_file(path, "picture"), "image") for path in image]
    pictures += [] if questions else [(read_file(path, "video"), "video") for path in video]
    typed = not questions
    interactive = typed and sys.stdin.isatty()
    turns = from_terminal(pictures, at_once, interactive) if typed else questions
    trusted = read_file(certificate, "certificate") if certificate else None
    own = not address  # that of a stack: it is started again where it has ended
    if own:
        address, trusted = running_gateway()
    asyncio.run(converse(address, config, turns, session, out, play, interactive, trusted, START_SECONDS if own else 0))


async def converse(
    address: str,
    config: wire.SessionConfig,
    questions: Iterable[Question],
    session_id: str = "",
    out: Path | None = None,
    play: bool = False,
    interactive: bool = False,
    certificate: bytes | None = None,
    start_seconds: float = 0.0,
) -> None:
    """Asks one question after the other and prints the answers.

    `start_seconds`: that a gateway may take to be there. Raises `CommandError` for a turn that fails (with
    `interactive` it is printed, and the next one asked), and for a gateway that is not there, refuses, or goes away.
    """
    async with Client(address, certificate=certificate) as client:
        try:
            try:
                async with asyncio.timeout(start_seconds or None):
                    await client.open(config, session_id, resumable=True, wait=start_seconds > 0)
            except TimeoutError:
                raise CommandError(f"the gateway at {address} was not there for {start_seconds:g} s") from None
            for number, question in enumerate(questions, 1):
                answer = await client.ask(question, show_progress)
                print_answer(answer)
                if answer.error is not None:
                    hint = f" (try again in {answer.error.retry_after:g} s)" if answer.error.retry_after else ""
                    print_or_raise(CommandError(f"{answer.error.code}: {answer.error.message}{hint}"), interactive)
                elif answer.audio:
                    save_audio(answer, out, play, number)
        except (grpc.RpcError, ConnectionError) as error:
            again = f"; go on with --session {client.session_id}" if client.session_id else ""
            raise CommandError(f"{describe_error(error, address)}{again}") from None
        typer.echo(f"session    {client.session_id}")


def describe_error(error: grpc.RpcError | ConnectionError, address: str) -> str:
    """Why a conversation ended, in one line."""
    if isinstance(error, ConnectionError):
        return str(error)
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        return f"the gateway at {address} is not there, or went away (UNAVAILABLE: {error.details()})"
    hint = "; PARLEY_API_KEY holds the key to send" if error.code() == grpc.StatusCode.UNAUTHENTICATED else ""
    return f"{error.code().name}: {error.details()}{hint}"


def print_or_raise(error: Exception, interactive: bool) -> None:
    """At a terminal an error does not end the conversation."""
    if not interactive:
        raise error
    typer.echo(f"parley: {error}", err=True)


def running_gateway() -> tuple[str, bytes | None]:
    """Its address, and the certificate to trust where it speaks TLS."""
    running = state.read()
    if running is None or not running.alive or not running.ready:
        raise CommandError("no stack runs in this folder; start it with `parley up`, or name a gateway with --address")
    return running.gateway, certificate_of(running)


def certificate_of(running: state.StackState) -> bytes | None:
    return Path(running.tls_authority).read_bytes() if running.tls_authority else None


def read_question(path: Path) -> bytes:
    """A sound file → raw samples at `SAMPLE_RATE`. Raises `ValueError` for what is no sound."""
    return to_pcm16(read_audio(path, SAMPLE_RATE, max_seconds=MAX_AUDIO_SECONDS)).tobytes()


def read_file(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"the {what} {path} cannot be read: {error.strerror}") from None


def from_terminal(media: list[tuple[bytes, str]], at_once: bool, interactive: bool) -> Iterator[Question]:
    """Questions as they are typed, until an empty line or the end of input; the first is about `media`."""
    if interactive:
        typer.echo("ask in writing, or name a sound file; an empty line ends")
    while line := read_line():
        is_file = os.path.isfile(line)  # of a line too long to be a name, `Path.is_file` raises
        try:
            question = Question(audio=read_question(Path(line)), paced=not at_once) if is_file else Question(text=line)
        except ValueError as error:
            print_or_raise(error, interactive)
            continue
        question.images = [data for data, kind in media if kind == "image"]
        question.videos = [data for data, kind in media if kind == "video"]
        media = []
        yield question


def read_line() -> str:
    """A line of standard input, "" at its end. It stops the event loop, whose own way with Ctrl-C would wait for it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if asyncio.current_task().cancelling():  # Ctrl-C came a moment ago
            raise KeyboardInterrupt
        return sys.stdin.readline().strip()
    finally:
        signal.signal(signal.SIGINT, before)


def show_progress(event: wire.ServerEvent) -> None:
    """On a terminal, the answer appears while it is spoken."""
    if not sys.stdout.isatty():
        return
    if event.WhichOneof("event") == "transcript" and not event.transcript.final:
        typer.echo(f"\r… {event.transcript.text}", nl=False)
    if event.WhichOneof("event") == "text":
        typer.echo(event.text.text, nl=False)


def print_answer(answer: Answer) -> None:
    if sys.stdout.isatty():
        typer.echo("\r\033[K", nl=False)
    if answer.transcript:
        typer.echo(f"transcript {answer.transcript}")
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


def save_audio(answer: Answer, out: Path | None, play: bool, number: int) -> None:
    """Writes the answer to a file, and plays it to a user at a terminal who named no file."""
    path = out or Path("answer.wav")
    if number > 1:
        path = path.with_stem(f"{path.stem}-{number}")
    write_wav(path, from_pcm16(answer.audio), answer.sample_rate)
    typer.echo(f"audio      {path}")
    player = next((command for command in PLAYERS if shutil.which(command[0])), None)
    if out is None and play and player is not None and sys.stdout.isatty():
        subprocess.run([*player, str(path)], check=False)
