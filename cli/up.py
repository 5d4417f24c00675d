"""`parley up`: runs the whole stack in the foreground."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError
from services.gateway.access import exposure
from services.local import page_links, ports
from services.local.stack import GATEWAY_PORT, HTTP_PORT, LocalStack, foreground
from services.local.state import DIRECTORY, StackState
from services.local.supervisor import StackError
from services.registry import SERVICES

if TYPE_CHECKING:
    from services.local.certificate import Certificate

app = typer.Typer(rich_markup_mode=None, add_completion=False)

DEFAULT_CHECKPOINT = "checkpoints/nano"
KEY_NOTE = "Whoever has a link may talk for two hours; `parley keys create` makes keys that last."
OWN_REDIS_NOTE = "The page asks for a key: `parley keys create` makes one."

Checkpoint = Annotated[Path, typer.Option(envvar="PARLEY_CHECKPOINT", help="Folder of the checkpoint to serve")]
Port = Annotated[int, typer.Option(min=0, max=65_535, help="gRPC port of the gateway; 0: any free one")]
HttpPort = Annotated[
    int,
    typer.Option(
        min=0, max=65_535, help="Port of the page, the OpenAI API, /healthz, /readyz, /metrics; 0: any free one"
    ),
]
Redis = Annotated[
    str,
    typer.Option(
        envvar="REDIS_URL",
        help="URL of a Redis for the sessions; by default an embedded Valkey is started. Put a URL with a password "
        "into the variable: arguments are visible in the list of processes",
    ),
]


Host = Annotated[
    str,
    typer.Option(help="Address that the gateway listens on; by default 127.0.0.1, with --tls every address (0.0.0.0)"),
]
Tls = Annotated[
    bool,
    typer.Option(
        "--tls",
        help="Speak TLS, with a certificate that is made for this machine, so that a phone in the same network can "
        "open the page with its microphone and camera",
    ),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Listen where other machines reach the gateway, without TLS and keys")
]


@app.command()
def up(
    checkpoint: Checkpoint = Path(DEFAULT_CHECKPOINT),
    port: Port = GATEWAY_PORT,
    http_port: HttpPort = HTTP_PORT,
    redis_url: Redis = "",
    host: Host = "",
    tls: Tls = False,
    insecure: Insecure = False,
) -> None:
    """Start the four services, the gateway and a store for sessions; print their addresses; stop all of it on Ctrl-C.

    The first address is that of the page: open it in a browser and talk. The addresses are also written to .parley/ in
    this folder, where `parley down`, `status` and `ask` find them. The services are configured by environment
    variables: see docs/serving.md.
    """
    host = host or ("0.0.0.0" if tls else ports.HOST)
    certificate = own_certificate() if tls else None
    stack = LocalStack(checkpoint, DIRECTORY, port, http_port, redis_url, host, certificate, insecure)
    with foreground(stack):
        try:
            state = stack.start(lambda text: typer.echo(f"  {text} …"))
            print_page(state, host, certificate, own_redis=bool(redis_url))
            print_addresses(state, stack.directory / "logs")
            typer.echo(f"ready in {state.startup_seconds:.0f} s; stop with Ctrl-C or `parley down` (pid {os.getpid()})")
            stack.wait(lambda text: typer.echo(f"  {text} …"))
            typer.echo("stopped")
        except KeyboardInterrupt:
            typer.echo("\nstopping …")
        except StackError as error:
            raise CommandError(str(error)) from None


def own_certificate() -> Certificate:
    from services.local import certificate

    return certificate.obtain(certificate.default_folder(), certificate.lan_addresses())


def print_page(state: StackState, host: str, certificate: Certificate | None, own_redis: bool) -> None:
    """Where the page is: here and, with TLS, for a phone. Its links carry a key where one is needed and can be made."""
    exposed = not exposure.is_loopback(host)
    key = "" if not exposed or own_redis else asyncio.run(page_links.make_key(state.redis_url))
    fragment = f"#key={key}" if key else ""
    typer.echo(f"page      {state.url}{fragment}")
    if certificate is None:
        return
    for address in page_links.lan_hosts(host):
        typer.echo(f"phone     https://{address}:{state.http.rpartition(':')[2]}/{fragment}")
    if exposed:
        typer.echo(f"          {KEY_NOTE if key else OWN_REDIS_NOTE}")
    typer.echo(
        f"          The browser warns once: this machine made the certificate. SHA-256 {certificate.fingerprint}"
    )
    typer.echo(f"          A browser that must trust it can be given {certificate.authority}")


def print_addresses(state: StackState, logs: Path) -> None:
    typer.echo(f"gateway   {state.gateway}  (gRPC, parley.v1.Conversation)")
    typer.echo(f"api       {state.url}v1  (OpenAI's); {state.url}healthz  /readyz  /metrics")
    typer.echo(f"services  {state.services}  (gRPC, metadata application: {' | '.join(SERVICES)})")
    typer.echo(f"sessions  {without_password(state.redis_url)}")
    typer.echo(f"logs      {logs}")


def without_password(url: str) -> str:
    """A Redis URL that may be shown: without user name and password."""
    return re.sub(r"(password=)[^&]*", r"\1…", re.sub(r"//.*@", "//…@", url))
