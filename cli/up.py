"""`parley up`: runs the whole stack in the foreground."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError
from services.local.stack import GATEWAY_PORT, HTTP_PORT, LocalStack, foreground
from services.local.state import StackState
from services.local.supervisor import StackError
from services.registry import SERVICES

app = typer.Typer(rich_markup_mode=None, add_completion=False)

DEFAULT_CHECKPOINT = "checkpoints/nano"

Checkpoint = Annotated[Path, typer.Option(envvar="PARLEY_CHECKPOINT", help="Folder of the checkpoint to serve")]
Port = Annotated[int, typer.Option(min=0, max=65_535, help="gRPC port of the gateway; 0: any free one")]
HttpPort = Annotated[
    int, typer.Option(min=0, max=65_535, help="Port of the gateway's /healthz, /readyz, /metrics; 0: any free one")
]
Redis = Annotated[
    str,
    typer.Option(
        envvar="REDIS_URL",
        help="URL of a Redis for the sessions; by default an embedded Valkey is started. Put a URL with a password "
        "into the variable: arguments are visible in the list of processes",
    ),
]


@app.command()
def up(
    checkpoint: Checkpoint = Path(DEFAULT_CHECKPOINT),
    port: Port = GATEWAY_PORT,
    http_port: HttpPort = HTTP_PORT,
    redis_url: Redis = "",
) -> None:
    """Start the four services, the gateway and a store for sessions; print their addresses; stop all of it on Ctrl-C.

    The addresses are also written to .parley/ in this folder, where `parley down`, `status` and `ask` find them.
    The services are configured by environment variables: see docs/serving.md.
    """
    stack = LocalStack(checkpoint, port=port, http_port=http_port, redis_url=redis_url)
    with foreground(stack):
        try:
            state = stack.start(lambda text: typer.echo(f"  {text} …"))
            print_addresses(state, stack.directory / "logs")
            typer.echo(f"ready in {state.startup_seconds:.0f} s; stop with Ctrl-C or `parley down` (pid {os.getpid()})")
            stack.wait(lambda text: typer.echo(f"  {text} …"))
            typer.echo("stopped")
        except KeyboardInterrupt:
            typer.echo("\nstopping …")
        except StackError as error:
            raise CommandError(str(error)) from None


def print_addresses(state: StackState, logs: Path) -> None:
    typer.echo(f"gateway   {state.gateway}  (gRPC, parley.v1.Conversation)")
    typer.echo(f"health    http://{state.http}/healthz  /readyz  /metrics")
    typer.echo(f"services  {state.services}  (gRPC, metadata application: {' | '.join(SERVICES)})")
    typer.echo(f"sessions  {without_password(state.redis_url)}")
    typer.echo(f"logs      {logs}")


def without_password(url: str) -> str:
    """A Redis URL that may be shown: without user name and password."""
    return re.sub(r"(password=)[^&]*", r"\1…", re.sub(r"//.*@", "//…@", url))
