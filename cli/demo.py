"""`parley demo`: starts a stack of its own, asks the bundled question about the bundled picture, stops the stack."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from cli import ask
from cli.client import Question
from cli.errors import CommandError
from cli.up import DEFAULT_CHECKPOINT, Checkpoint
from protos.parley.v1 import conversation_pb2 as wire
from services.local import memory, state
from services.local.stack import LocalStack, foreground
from services.local.supervisor import StackError

app = typer.Typer(rich_markup_mode=None, add_completion=False)

QUESTION = Path("examples/question.wav")
PICTURE = Path("examples/scene.png")


@app.command()
def demo(
    checkpoint: Checkpoint = Path(DEFAULT_CHECKPOINT),
    out: Annotated[Path, typer.Option(help="Write the spoken answer here")] = Path("answer.wav"),
) -> None:
    """Start the four services and the gateway on free ports, ask aloud about a picture, write the spoken answer, stop.

    Prints the transcript of the question, the answer, the state (speech to answer, or not) and the latency by part.
    """
    if not QUESTION.is_file():
        raise ValueError(f"there is no {QUESTION} here: `parley demo` runs in the folder of the repository")
    question = Question(audio=ask.read_question(QUESTION), images=[ask.read_file(PICTURE, "picture")])
    config = wire.SessionConfig(turn_detection=wire.TURN_DETECTION_MANUAL, input_sample_rate=ask.SAMPLE_RATE)
    stack = LocalStack(checkpoint, directory=state.DIRECTORY / "demo", port=0, http_port=0)
    with foreground(stack):
        try:
            typer.echo(f"starting Parley with {checkpoint}")
            running = stack.start(lambda text: typer.echo(f"  {text} …"))
            _, share = memory.by_process(running.supervisor_pid)["total"]
            typer.echo(f"ready in {running.startup_seconds:.0f} s; uses {share / 1000:.1f} GB of memory")
            typer.echo(f"\nasking {QUESTION} about {PICTURE}")
            certificate = ask.certificate_of(running)
            asyncio.run(ask.converse(running.gateway, config, [question], out=out, certificate=certificate))
            typer.echo("\nstopping …")
        except KeyboardInterrupt:
            typer.echo("\nstopping …")
            raise
        except StackError as error:
            raise CommandError(str(error)) from None
