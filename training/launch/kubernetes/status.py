"""What the objects of a run say about it: states of Jobs, and progress from the lines that the pods print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from kubernetes import client

NOT_STARTING = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")


def _condition(job: client.V1Job, kind: str) -> client.V1JobCondition | None:
    conditions = (job.status.conditions if job.status else None) or []
    return next((each for each in conditions if each.type == kind and each.status == "True"), None)


def is_complete(job: client.V1Job) -> bool:
    return _condition(job, "Complete") is not None


def failure(job: client.V1Job) -> str:
    """Why the Job has failed for good; empty where it has not."""
    found = _condition(job, "Failed")
    return "" if found is None else f"{found.reason or 'Failed'}: {found.message or 'no message'}"


def pod_message(pods: Sequence[client.V1Pod]) -> str:
    """What a failed pod has said at its end: the last lines of its log, or why it could not start; empty: nothing."""
    for pod in pods:
        for container in (pod.status.container_statuses if pod.status else None) or []:
            now = container.state
            if now and now.terminated and now.terminated.exit_code and now.terminated.message:
                return now.terminated.message.strip()
            if now and now.waiting and now.waiting.reason in NOT_STARTING:
                return f"{now.waiting.reason}: {now.waiting.message or container.image}"
    return ""


def state(job: client.V1Job) -> str:
    """complete, failed, suspended, running or waiting."""
    if is_complete(job):
        return "complete"
    if failure(job):
        return "failed"
    if job.spec.suspend:
        return "suspended"
    return "running" if job.status and job.status.active else "waiting"


@dataclass(frozen=True)
class StageProgress:
    step: int
    steps: int
    loss: float | None = None
    seconds_left: float | None = None

    def __str__(self) -> str:
        parts = [f"step {self.step} of {self.steps}"]
        if self.loss is not None:
            parts.append(f"loss {self.loss:.3f}")
        if self.seconds_left is not None:
            parts.append(f"{_duration(self.seconds_left)} left")
        return ", ".join(parts)


def progress_in(log: str) -> StageProgress | None:
    """The newest progress in a pod's log (`training.launch.worker.ProgressLines`); None where there is none."""
    latest, loss = None, None
    for line in log.splitlines():
        start = line.find('{"progress"')  # a progress bar may stand before it
        if start < 0:
            continue
        try:
            found = json.loads(line[start:])
            loss = found.get("loss", loss)
            latest = StageProgress(found["step"], found["steps"], loss, found.get("seconds_left"))
        except (ValueError, KeyError):
            continue
    return latest


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "< 1 min"
