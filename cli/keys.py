"""`parley keys`: the API keys of a gateway."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from cli.errors import CommandError
from services.gateway.access.key_store import KeyStore
from services.gateway.access.keys import ApiKey, KeyLimits
from services.gateway.access.usage import Usage
from services.gateway.settings import StoreSettings
from services.gateway.store.connection import connect
from services.local import state
from services.rpc.errors import ServiceError

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

Result = TypeVar("Result")

RedisUrl = Annotated[
    str,
    typer.Option(
        envvar="REDIS_URL",
        help="The Redis of the sessions; else that of the stack of this folder. Put a URL with a password into the "
        "variable: arguments are visible in the list of processes",
    ),
]


@app.callback()
def keys() -> None:
    """Create, list and revoke the API keys of a gateway.

    \b
    parley keys create phone --requests 60 --sessions 2     prints the key, this once
    PARLEY_API_KEY=sk-… parley ask --text "hello"
    parley keys list
    parley keys revoke 0123456789abcdef

    From the first key on, every request must carry one; revoking the last does not change that. The keys of a stack
    with its own Valkey go with the stack. docs/security.md tells more.
    """


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, for `parley keys list`")],
    requests: Annotated[int, typer.Option(min=0, help="Most requests a minute; 0: any number")] = 0,
    sessions: Annotated[int, typer.Option(min=0, help="Most sessions open at once; 0: any number")] = 0,
    audio_minutes: Annotated[
        float, typer.Option(min=0, help="Most minutes of audio a day (UTC), in and out; 0: any number")
    ] = 0.0,
    redis_url: RedisUrl = "",
) -> None:
    """Create a key and print it. Only its hash is kept: nobody can print it again."""
    if math.isinf(audio_minutes):
        raise ValueError("--audio-minutes inf is no number of minutes; 0 means any number")
    limits = KeyLimits(requests=requests, sessions=sessions, audio_minutes=audio_minutes)
    typer.echo(_run(redis_url, lambda store, _: store.create(name, limits)))
    typer.echo("This is the only time that it is shown. From now on every request needs a key.", err=True)


@app.command("list")
def list_keys(redis_url: RedisUrl = "") -> None:
    """Show all keys: id, name, limits, and what they use now."""

    async def read(store: KeyStore, usage: Usage) -> list[tuple[ApiKey, int, float]]:
        return [(key, await usage.open_sessions(key.id), await usage.audio_today(key.id)) for key in await store.list()]

    typer.echo(f"{'id':16}  {'created':10}  {'requests/min':>12}  {'sessions':>8}  {'audio min/day':>13}  name")
    for key, sessions, audio in _run(redis_url, read):
        created = time.strftime("%Y-%m-%d", time.gmtime(key.created_at))
        limits = key.limits
        typer.echo(
            f"{key.id:16}  {created:10}  {limits.requests or '-':>12}  {_of(sessions, limits.sessions):>8}  "
            f"{_of(round(audio / 60, 1), limits.audio_minutes):>13}  {key.name}"
        )


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `parley keys list` shows it")],
    redis_url: RedisUrl = "",
) -> None:
    """Revoke a key. Within seconds nobody gets in with it, and the sessions that it has open end."""
    if not _run(redis_url, lambda store, _: store.revoke(key_id)):
        raise CommandError(f"there is no key with the id {key_id}; `parley keys list` shows them")
    typer.echo(f"revoked {key_id}")


def _of(used: float, most: float) -> str:
    return f"{used:g}/{most:g}" if most else f"{used:g}"


def _run(redis_url: str, work: Callable[[KeyStore, Usage], Awaitable[Result]]) -> Result:
    """Raises `CommandError` where no stack runs, or Redis does not answer."""

    async def connected() -> Result:
        redis = connect(redis_url or _redis_of_the_stack(), StoreSettings())
        try:
            return await work(KeyStore(redis), Usage(redis))
        except ServiceError as error:
            raise CommandError(error.message) from None
        finally:
            await redis.aclose()

    return asyncio.run(connected())


def _redis_of_the_stack() -> str:
    running = state.read()
    if running is None or not running.alive or not running.ready:
        raise CommandError("nothing runs here; start it with `parley up`, or name a Redis with --redis-url")
    return running.redis_url
