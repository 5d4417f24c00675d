"""Starts a run on a cluster, or lets it go on."""

from __future__ import annotations

from training.launch.kubernetes.cluster import Cluster, ClusterError
from training.launch.kubernetes.objects import jobset, launcher_objects
from training.launch.kubernetes.settings import LaunchSettings, check_steps
from training.launch.kubernetes.status import state


def start(cluster: Cluster, settings: LaunchSettings) -> str:
    """Returns what was done, in words.

    Raises `ClusterError`, also where the run's name is taken by one that runs, and `ValueError` for what cannot train.
    """
    check_steps(settings)
    jobs = cluster.jobs(settings.name)
    if running := [job.metadata.name for job in jobs if state(job) not in ("complete", "failed")]:
        raise ClusterError(
            f"a run {settings.name} is there already ({', '.join(running)}); `parley jobs watch {settings.name}` shows "
            f"it, `parley jobs cancel {settings.name}` ends it, --name gives this one another name"
        )
    if jobs:
        cluster.delete_run(settings.name)  # what has ended: its checkpoints stay, and its stages go on from them
    wants_jobset = settings.wants_jobset and cluster.serves_jobset()
    if settings.chain == "jobset" and not wants_jobset:
        raise ClusterError("the cluster serves no JobSet (jobset.x-k8s.io/v1alpha2); --chain launcher needs none")
    objects = [jobset(settings)] if wants_jobset else launcher_objects(settings)
    for manifest in objects:
        if not cluster.create(manifest):
            kind, name = manifest["kind"], manifest["metadata"]["name"]
            raise ClusterError(f"{kind} {name} is there already; `parley jobs cancel {settings.name}` removes it")
    kind = "a JobSet" if wants_jobset else "a launcher"
    return f"run {settings.name}: {len(settings.stages)} stages, started by {kind}"
