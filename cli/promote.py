"""`parley promote`: the running services change to another checkpoint without a lost turn."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError
from services.local import state
from services.local.releases import DeploymentError, LocalDeployments
from services.promotion.deployments import ClusterDeployments, Deployments
from services.promotion.pointer import PointerStore, PromotionError
from services.promotion.promotion import Limits, Promotion
from services.ray.cluster import Cluster, ClusterError, auth_token
from services.rpc.decorator import TOKEN_VARIABLE

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def promote(
    checkpoint: Annotated[
        str, typer.Argument(help="Folder of the checkpoint, for example runs/nano/3.2; on a cluster, its path there")
    ] = "",
    back: Annotated[bool, typer.Option("--back", help="Go back to the checkpoint that the last promotion replaced")] = (
        False
    ),
    serve_url: Annotated[
        str,
        typer.Option(
            envvar="PARLEY_SERVE_URL", help="Of a cluster, as http://head:8265; else the stack of this folder"
        ),
    ] = "",
    services: Annotated[
        str,
        typer.Option(envvar="PARLEY_SERVICES", help="On a cluster: host:port[,host:port] of the Serve gRPC proxies"),
    ] = "",
    redis_url: Annotated[str, typer.Option(envvar="REDIS_URL", help="On a cluster: the Redis of the sessions")] = "",
    load_seconds: Annotated[float, typer.Option(min=1, help="Time that the new services have to load")] = 600,
    drain_seconds: Annotated[float, typer.Option(min=1, help="Time that running turns have to end")] = 240,
) -> None:
    """Change the four services to another checkpoint while people talk to them.

    \b
    parley promote runs/nano/3.2     start it beside what runs, ask it, send new questions to it, end the old one
    parley promote --back            the same, back to the checkpoint before

    A question that is being answered ends on the checkpoint on which it began. If the new one does not load or does not
    answer, nothing changes. It needs memory for both at once. docs/promotion.md tells more.
    """
    if bool(checkpoint) == back:
        raise ValueError("name a checkpoint, or go --back to the one before")
    say = typer.echo
    limits = Limits(drain=drain_seconds)
    try:
        if serve_url:
            deployments: Deployments = ClusterDeployments(Cluster(serve_url, auth_token()), load_seconds)
            if not services or not redis_url:
                raise ValueError("a cluster's promotion needs --services and --redis-url too")
            promotion = Promotion(deployments, PointerStore(redis_url), services, say, limits)
            pointer = promotion.back() if back else promotion.promote(checkpoint)
        else:
            pointer = _promote_here(checkpoint, say, limits)
    except (PromotionError, ClusterError, DeploymentError) as error:
        raise CommandError(str(error)) from None
    say(f"serving {pointer.weights} from {pointer.checkpoint or 'the first checkpoint'}")


def _promote_here(checkpoint: str, say, limits: Limits):
    """On the stack of this folder. `checkpoint` empty: back."""
    running = state.read()
    if running is None or not running.alive or not running.ready:
        raise CommandError("nothing runs here; start it with `parley up`, or name a cluster with --serve-url")
    if checkpoint:
        from parley.checkpoints import Checkpoint  # needs torch, which is here where services run

        Checkpoint.open(Path(checkpoint))  # raises for what no service could load, before anything is started
    os.environ[TOKEN_VARIABLE] = running.service_token
    store = PointerStore(running.redis_url)
    promotion = Promotion(LocalDeployments(Path(running.runtime_dir)), store, running.services, say, limits)
    try:
        return promotion.promote(str(Path(checkpoint).resolve())) if checkpoint else promotion.back()
    finally:
        pointer = store.read()  # also moved where the old release could not be removed
        if pointer is not None and pointer.checkpoint:
            state.write(state.DIRECTORY, replace(running, checkpoint=pointer.checkpoint))
