"""`parley status`: which stack runs in this folder, its addresses, health and memory."""

from __future__ import annotations

import contextlib
import json
import urllib.error
from typing import Annotated

import typer

from cli.errors import CommandError
from services.local import memory, state

TIMEOUT = 3.0  # seconds

app = typer.Typer(rich_markup_mode=None, add_completion=False)


def health(url: str, authority: str = "") -> str:
    """ "ok", or what is wrong."""
    try:
        state.fetch(url, TIMEOUT, authority)
        return "ok"
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = f"missing: {', '.join(json.loads(said)['missing'])}"
        return f"HTTP {error.code}, {said}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except OSError as error:
        return str(error)


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON")] = False) -> None:
    """Show the stack that runs in this folder: addresses, health, memory of each process.

    `resident` counts memory that processes share in each of them, `share` divides it among them. The exit status is 1
    if nothing runs or it is not ready.
    """
    running = state.read()
    if running is None or not running.alive:
        raise CommandError("nothing runs here; start it with `parley up`")
    report = {
        "ready": running.ready,
        "page": running.url,
        "gateway": running.gateway,
        "http": running.http,
        "services": running.services,
        "checkpoint": running.checkpoint,
        "startup_seconds": running.startup_seconds,
        "health": {
            "gateway": health(f"{running.url}readyz", running.tls_authority),
            "services": health(f"http://{running.serve_http}/-/healthz"),
        },
        "memory_mb": memory.by_process(running.supervisor_pid),
    }
    if as_json:
        typer.echo(json.dumps(report, indent=1))
    else:
        typer.echo(f"{'ready':11} {f'in {running.startup_seconds:g} s' if running.ready else 'not yet'}")
        for name in ("page", "gateway", "services", "checkpoint"):
            typer.echo(f"{name:11} {report[name]}")
        typer.echo(f"{'health':11} gateway {report['health']['gateway']}, services {report['health']['services']}")
        typer.echo(f"{'memory':11} {'MB':32} resident   share")
        for name, (resident, share) in report["memory_mb"].items():
            typer.echo(f"{'':11} {name:32} {resident:8.0f} {share:7.0f}")
    if not running.ready or set(report["health"].values()) != {"ok"}:
        raise typer.Exit(1)
