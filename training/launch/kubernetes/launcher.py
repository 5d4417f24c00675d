"""Runs the stages of a run one after the other, as Jobs: the container of the launcher Job.

    python -m training.launch.kubernetes.launcher JSON

What is done and what runs is read from the cluster each time, so that a launcher that was moved to another node goes
on. Ends with 0 when all stages are complete, with 2 when one has failed.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Set

from kubernetes import client

from training.launch.kubernetes.cluster import Cluster, ClusterError, connect
from training.launch.kubernetes.objects import STAGE_LABEL, Manifest, stage_objects
from training.launch.kubernetes.settings import LaunchSettings
from training.launch.kubernetes.status import failure, is_complete, pod_message
from training.plan import Progress, due
from training.recipe import recipe

MISTAKE = 2
STOPPED = 75  # the node is drained: another pod goes on
WAIT_SECONDS = 15.0  # after which the state is read again: a change before the watch began is no event


class StageFailedError(Exception):
    """A stage has failed for good; the message says which and why."""


class Chain:
    """`settings.stages` as Jobs, started by `training.plan.due`: one at a time, since each takes all nodes."""

    def __init__(self, cluster: Cluster, settings: LaunchSettings):
        self._cluster, self._settings = cluster, settings
        self._seen: set[str] = set()  # stages that have had a Job
        self._complete: set[str] = set()  # their Jobs are removed some time later

    def run(self) -> None:
        """Returns when all stages are complete. Raises `StageFailedError`, and `ClusterError`."""
        while True:
            progress = self.progress()
            if not progress.waiting and not progress.running:
                return
            for start in due(progress):
                self._start(start.stage.name)
            self._wait(known=progress.finished)

    def progress(self) -> Progress:
        """From the Jobs that there are."""
        jobs = {job.metadata.labels[STAGE_LABEL]: job for job in self._cluster.jobs(self._settings.name, "stage")}
        for stage, job in jobs.items():
            if reason := failure(job):
                said = pod_message(self._cluster.pods(self._settings.name, stage))
                raise StageFailedError(f"stage {stage} failed: {said or reason}")
        self._complete |= {stage for stage, job in jobs.items() if is_complete(job)}
        if gone := self._seen - jobs.keys() - self._complete:
            raise StageFailedError(f"the job of stage {', '.join(sorted(gone))} was removed: the run was cancelled")
        self._seen |= jobs.keys()
        others = {stage.name for stage in recipe(self._settings.preset)} - set(self._settings.stages)
        return Progress(
            self._settings.preset,
            jobs=1,
            finished=self._complete | others,  # of an earlier run, or not wanted: the pods check what they build on
            running=dict.fromkeys(set(jobs) - self._complete, 1),
        )

    def _start(self, stage: str) -> None:
        print(f"starting stage {stage}", flush=True)
        owners = [_reference(job) for job in self._cluster.jobs(self._settings.name, "launcher")]
        for manifest in stage_objects(self._settings, stage):
            manifest["metadata"]["ownerReferences"] = owners  # removed with the launcher's Job
            self._cluster.create(manifest)  # what is there already was made before this launcher was moved
        self._seen.add(stage)

    def _wait(self, known: Set[str]) -> None:
        """Returns when a stage that is not among the `known` ones has ended or is gone, or it is time to look again."""
        for _ in self._cluster.watch_jobs(self._settings.name, "stage", WAIT_SECONDS):
            running = {
                job.metadata.labels[STAGE_LABEL]
                for job in self._cluster.jobs(self._settings.name, "stage")
                if not _has_ended(job)
            }
            if self._seen - known - running:
                return


def _reference(job: client.V1Job) -> Manifest:
    return {"apiVersion": "batch/v1", "kind": "Job", "name": job.metadata.name, "uid": job.metadata.uid}


def _has_ended(job: client.V1Job) -> bool:
    return is_complete(job) or bool(failure(job))


def main(argument: str) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))  # the first process of a container ignores it else
    settings = LaunchSettings.model_validate_json(argument)
    try:
        Chain(connect(namespace=settings.namespace), settings).run()
    except StageFailedError as error:
        print(error, file=sys.stderr, flush=True)
        return MISTAKE
    except ClusterError as error:
        print(error, file=sys.stderr, flush=True)
        time.sleep(5)  # before the Job starts this pod again
        return 1
    print("all stages are complete", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
