"""`parley down`: stops the stack that runs in this folder."""

from __future__ import annotations

import typer

from services.local import state
from services.local.stack import stop_running

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def down() -> None:
    """Stop the stack that `parley up` started in this folder, and wait until nothing of it is left."""
    typer.echo("stopped" if stop_running(state.DIRECTORY) else "nothing runs here")
