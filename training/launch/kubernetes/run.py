"""Starts a run on a cluster, or lets it go on."""

from __future__ import annotations

import time

from training.launch.kubernetes.cluster import Cluster, ClusterError
from training.launch.kubernetes.objects import jobset, launcher_objects
from training.launch.kubernetes.settings import LaunchSettings, check_steps
from training.launch.kubernetes.status import state

GONE_SECONDS = 60.0  # that the cluster has to remove what an ended run has left


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
    remove_ended(cluster, settings.name)
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


def remove_ended(cluster: Cluster, run: str) -> None:
    """Removes what an ended run of this name has left in the cluster. Its checkpoints stay: its stages go on from them.

    Raises `ClusterError` where that takes too long.
    """
    cluster.delete_run(run)
    until = time.monotonic() + GONE_SECONDS
    while jobs := cluster.jobs(run):
        if time.monotonic() > until:
            raise ClusterError(f"job {jobs[0].metadata.name} of an ended run is still being removed; try again")
        time.sleep(0.5)
