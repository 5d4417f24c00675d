"""`parley up`: the whole stack, in the foreground."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError
from cli.stack.keeper import StackError
from cli.stack.local import GATEWAY_PORT, HTTP_PORT, LocalStack

app = typer.Typer(rich_markup_mode=None, add_completion=False)

CHECKPOINT_VARIABLE = "PARLEY_CHECKPOINT"
DEFAULT_CHECKPOINT = "checkpoints/nano"

Checkpoint = Annotated[Path, typer.Option(envvar=CHECKPOINT_VARIABLE, help="Folder of the checkpoint to serve")]
Port = Annotated[int, typer.Option(help="gRPC port of the gateway; 0: any free one")]
HttpPort = Annotated[int, typer.Option(help="Port of the gateway's /healthz, /readyz, /metrics; 0: any free one")]
Redis = Annotated[str, typer.Option(envvar="REDIS_URL", help="Redis for the sessions; empty: an embedded Valkey")]


@app.command()
def up(
    checkpoint: Checkpoint = Path(DEFAULT_CHECKPOINT),
    port: Port = GATEWAY_PORT,
    http_port: HttpPort = HTTP_PORT,
    redis_url: Redis = "",
) -> None:
    """Start sessions, the four services and the gateway; print where they are; stop all of it on Ctrl-C.

    What runs is written to .parley/ in this folder; `parley down`, `status` and `ask` find it there.
    """
    stack = LocalStack(checkpoint, port=port, http_port=http_port, redis_url=redis_url)
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C
        signal.signal(number, signal.default_int_handler)
    try:
        state = stack.start(lambda text: typer.echo(f"  {text} …"))
        typer.echo(f"gateway   {state.gateway}  (gRPC, parley.v1.Conversation)")
        typer.echo(f"health    http://{state.http}/healthz  /readyz  /metrics")
        typer.echo(f"services  {state.services}  (gRPC, metadata application: vision | speech | language | voice)")
        typer.echo(f"sessions  {state.redis_url}")
        typer.echo(f"logs      {stack.directory / 'logs'}")
        typer.echo(f"ready in {state.startup_seconds:.0f} s; stop with Ctrl-C or `parley down` (pid {os.getpid()})")
        stack.wait(lambda text: typer.echo(f"  {text} …"))
        typer.echo("stopped")
    except KeyboardInterrupt:
        typer.echo("\nstopping …")
    except StackError as error:
        raise CommandError(str(error)) from None
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # stopping takes seconds and must not be cut short
        stack.stop()
