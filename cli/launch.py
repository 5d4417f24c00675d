"""`parley launch`: train on a Kubernetes cluster."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from cli.errors import CommandError

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def launch(
    model: Annotated[str, typer.Argument(help="What to train: a preset of parley/config.py")] = "nano",
    image: Annotated[str, typer.Option(help="Image of the Dockerfile's target `train`")] = ...,
    checkpoints: Annotated[
        str, typer.Option(metavar="CLAIM|URL", help="ReadWriteMany volume claim, or s3://bucket/folder")
    ] = ...,
    stages: Annotated[str, typer.Option(metavar="FIRST-LAST", help="Stages of the recipe, as 1.1-3.2; or all")] = "all",
    nodes: Annotated[int, typer.Option(min=1, help="Pods of each stage")] = 1,
    gpus_per_node: Annotated[int, typer.Option(min=0, help="GPUs of each pod; 0: train on its CPUs")] = 0,
    name: Annotated[str, typer.Option(help="Of the run [default: the model's]")] = "",
    data: Annotated[str, typer.Option(metavar="CLAIM", help="Volume claim with data, mounted at /data")] = "",
    start: Annotated[str, typer.Option("--from", metavar="FOLDER", help="In a pod: a checkpoint to begin with")] = "",
    records: Annotated[
        str, typer.Option(metavar="FILE", help="With --from, in a pod: your data, as /data/mix.yaml")
    ] = "",
    seed: Annotated[int, typer.Option(help="Of the data and of fresh weights")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each stage: a quick trial")] = None,
    namespace: Annotated[str, typer.Option(help="Namespace of the cluster")] = "default",
    context: Annotated[str, typer.Option(help="Of the kubeconfig [default: its current one]")] = "",
    chain: Annotated[str, typer.Option(help="What starts the next stage: auto, jobset or launcher")] = "auto",
    cpu: Annotated[str, typer.Option(help="CPUs of each pod")] = "4",
    memory: Annotated[str, typer.Option(help="Memory of each pod")] = "16Gi",
    shared_memory: Annotated[str, typer.Option(help="Size of /dev/shm, part of the memory")] = "8Gi",
    gpu_resource: Annotated[str, typer.Option(help="Name of the GPU resource")] = "nvidia.com/gpu",
    node_selector: Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="Label of nodes; may be repeated")] = (),
    toleration: Annotated[
        list[str], typer.Option(metavar="KEY[=VALUE][:EFFECT]", help="Tolerated taint; may be repeated")
    ] = (),
    priority_class: Annotated[str, typer.Option(help="Priority class of the pods")] = "",
    queue: Annotated[str, typer.Option(help="Kueue's local queue")] = "",
    env: Annotated[list[str], typer.Option(metavar="NAME=VALUE", help="As NCCL_SOCKET_IFNAME=eth0; repeatable")] = (),
    secret: Annotated[str, typer.Option(help="Secret whose keys become variables, as AWS_ACCESS_KEY_ID")] = "",
    service_account: Annotated[str, typer.Option(help="Service account of the pods that train")] = "",
    deadline_hours: Annotated[float, typer.Option(help="A stage is ended after this long")] = 168,
    retries: Annotated[int, typer.Option(min=0, help="Times that the pods of a stage may fail")] = 3,
    port: Annotated[int, typer.Option(help="Where the pods of a stage meet")] = 29500,
    ttl_hours: Annotated[float, typer.Option(min=0, help="Finished jobs are kept for this long")] = 72,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the objects, make nothing")] = False,
) -> None:
    """Train on a Kubernetes cluster, a Job a stage; it goes on when this command has ended.

    \b
    parley launch nano --image parley-train:0.1.0 --checkpoints runs --stages 0.1-0.2 --nodes 2
    parley launch vita-7b --from /data/base --records /data/mix.yaml --data mine --nodes 4 --gpus-per-node 8 …
    parley jobs watch nano           steps, loss, time left
    parley jobs cancel nano

    The same command again goes on where the run was stopped. docs/training-jobs.md tells more.
    """
    from training.launch.kubernetes.settings import LaunchSettings, stages_between

    try:
        settings = LaunchSettings(
            name=name or model, preset=model, stages=stages_between(model, stages), nodes=nodes,
            gpus_per_node=gpus_per_node, image=image, checkpoints=checkpoints, data=data, start=start, records=records,
            seed=seed, steps=steps, namespace=namespace, chain=chain, cpu=cpu, memory=memory,
            shared_memory=shared_memory, gpu_resource=gpu_resource, node_selector=_pairs(node_selector),
            tolerations=tuple(toleration), priority_class=priority_class, queue=queue, environment=_pairs(env),
            secret=secret, service_account=service_account, deadline_hours=deadline_hours, retries=retries, port=port,
            ttl_hours=ttl_hours,
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {said}" if where else said) from None
    if dry_run:
        _print(settings)
        return
    from training.launch.kubernetes.cluster import ClusterError, connect
    from training.launch.kubernetes.run import start as start_run

    try:
        made = start_run(connect(context, namespace), settings)
    except ClusterError as error:
        raise CommandError(str(error)) from None
    typer.echo(f"{made}; `parley jobs watch {settings.name}` shows how far it is")


def _pairs(texts: list[str]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise ValueError(f"{text!r} is no pair; write NAME=VALUE")
    return dict(text.split("=", 1) for text in texts)


def _print(settings) -> None:
    """All objects, also those that the launcher will make later."""
    import yaml

    from training.launch.kubernetes.objects import jobset, launcher_objects, stage_objects

    objects = [jobset(settings)] if settings.chain == "jobset" else launcher_objects(settings)
    if settings.chain != "jobset":
        for stage in settings.stages:
            objects += stage_objects(settings, stage)
    typer.echo(yaml.safe_dump_all(objects, sort_keys=False), nl=False)
