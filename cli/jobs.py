"""`parley jobs`: training runs on a Kubernetes cluster."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from cli.errors import CommandError

app = typer.Typer(
    help="Training runs on a Kubernetes cluster, started by `parley launch`.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

POLL_SECONDS = 10.0
TAIL = 200  # lines of a log in which progress is looked for

Run = Annotated[str, typer.Argument(help="Name of the run")]
Namespace = Annotated[str, typer.Option(help="Namespace of the cluster")]
Context = Annotated[str, typer.Option(help="Of the kubeconfig [default: its current one]")]


def _connect(context: str, namespace: str):
    from training.launch.kubernetes.cluster import ClusterError, connect

    try:
        return connect(context, namespace)
    except ClusterError as error:
        raise CommandError(str(error)) from None


def _stages(cluster, run: str) -> list[tuple[str, str, str]]:
    """Stage, state and progress or failure of each Job of a run."""
    from training.launch.kubernetes.objects import STAGE_LABEL
    from training.launch.kubernetes.status import failure, pod_message, progress_in, state

    rows = []
    for job in cluster.jobs(run, "stage"):
        stage, now = job.metadata.labels[STAGE_LABEL], state(job)
        pods = sorted(cluster.pods(run, stage), key=_newest_first) if now in ("running", "failed") else []
        logs = (cluster.log(pod.metadata.name, TAIL) for pod in pods if now == "running")
        found = next(filter(None, map(progress_in, logs)), None)
        rows.append((stage, now, str(found) if found else pod_message(pods) or failure(job)))
    return sorted(rows)


def _newest_first(pod) -> float:
    return -pod.metadata.creation_timestamp.timestamp()


def _guarded(command):
    """Runs what talks to the cluster; what it refuses becomes one line."""
    from training.launch.kubernetes.cluster import ClusterError

    try:
        return command()
    except ClusterError as error:
        raise CommandError(str(error)) from None


@app.command("list")
def list_runs(namespace: Namespace = "default", context: Context = "") -> None:
    """Runs and the state of their stages."""
    from training.launch.kubernetes.objects import RUN_LABEL

    cluster = _connect(context, namespace)
    runs = sorted({job.metadata.labels[RUN_LABEL] for job in _guarded(cluster.jobs)})
    if not runs:
        typer.echo(f"no runs in namespace {namespace}")
    for run in runs:
        states = ", ".join(f"{stage} {now}" for stage, now, _ in _guarded(lambda run=run: _stages(cluster, run)))
        typer.echo(f"{run:20} {states or 'starting'}")


@app.command()
def watch(run: Run, namespace: Namespace = "default", context: Context = "") -> None:
    """Show the steps, the loss and the time left of a run's stages until it has ended. Exit status 1 if it fails."""
    cluster = _connect(context, namespace)
    said: dict[str, tuple[str, str]] = {}
    while True:
        rows = _guarded(lambda: _stages(cluster, run))
        for stage, now, detail in rows:
            if said.get(stage) != (now, detail):
                typer.echo(f"{time.strftime('%H:%M:%S')} {stage:5} {now:9} {detail}")
                said[stage] = now, detail
        jobs = _guarded(lambda: cluster.jobs(run))
        if not jobs:
            raise CommandError(f"there is no run {run} in namespace {namespace}")
        ended = _ended(jobs)
        if ended is not None:
            if ended:
                raise CommandError(ended)
            return
        time.sleep(POLL_SECONDS)


def _ended(jobs) -> str | None:
    """None while a Job runs; empty where all are complete; else why one has failed."""
    from training.launch.kubernetes.status import failure, is_complete

    if reasons := [f"{job.metadata.name}: {failure(job)}" for job in jobs if failure(job)]:
        return reasons[0]
    return "" if all(map(is_complete, jobs)) else None


@app.command()
def logs(
    run: Run,
    stage: Annotated[str, typer.Option(help="Of the recipe [default: the one that runs]")] = "",
    index: Annotated[int, typer.Option(min=0, help="Pod of the stage, from 0")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written")] = False,
    lines: Annotated[int, typer.Option(min=1, help="How many of the last lines")] = 100,
    namespace: Namespace = "default",
    context: Context = "",
) -> None:
    """Print the log of one pod of a stage."""
    cluster = _connect(context, namespace)
    if not stage:
        running = [name for name, now, _ in _guarded(lambda: _stages(cluster, run)) if now == "running"]
        if not running:
            raise CommandError(f"no stage of {run} runs; name one with --stage")
        stage = running[0]
    pods = [
        pod
        for pod in _guarded(lambda: cluster.pods(run, stage))
        if (pod.metadata.labels or {}).get("batch.kubernetes.io/job-completion-index", "0") == str(index)
    ]
    if not pods:
        raise CommandError(f"stage {stage} of {run} has no pod {index}")
    newest = max(pods, key=lambda pod: pod.metadata.creation_timestamp)
    if follow:
        for line in cluster.follow_log(newest.metadata.name):
            typer.echo(line)
    else:
        typer.echo(cluster.log(newest.metadata.name, lines).rstrip())


@app.command()
def cancel(run: Run, namespace: Namespace = "default", context: Context = "") -> None:
    """End a run. Its pods save first; its checkpoints stay, and `parley launch` goes on from them."""
    cluster = _connect(context, namespace)
    count = _guarded(lambda: cluster.delete_run(run))
    if not count:
        raise CommandError(f"there is no run {run} in namespace {namespace}")
    typer.echo(f"run {run} ends; {count} objects removed")
