"""Where releases are deployed: the Serve of a cluster. `services.local.releases` is the same for the local stack."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

from services.ray.cluster import Cluster
from services.ray.serve_config import Release, application_name, route_prefix, serve_config
from services.registry import SERVICES

Say = Callable[[str], None]  # tells the user how far it is


class Deployments(Protocol):
    """Methods block, and raise `DeploymentError` or `ClusterError` with a message for the user."""

    def releases(self) -> list[Release]:
        """What is deployed now, by slot."""
        ...

    def deploy(self, release: Release, like: Release, say: Say) -> None:
        """Starts a release beside the others, placed like one of them. Returns when all its services run."""
        ...

    def remove(self, slot: str) -> None:
        """Ends the applications of a slot; nothing where there are none."""
        ...


class ClusterDeployments:
    """`seconds`: that a release has to load."""

    def __init__(self, cluster: Cluster, seconds: float):
        self._cluster, self._seconds = cluster, seconds

    def releases(self) -> list[Release]:
        return self._cluster.releases()

    def deploy(self, release: Release, like: Release, say: Say) -> None:
        """Replicas, GPUs and the rest of the configuration are those that `like` runs with now."""
        others = self._without(release.slot)
        sources = {application_name(service, like.slot): service for service in SERVICES}
        added = [_moved(config, sources[config["name"]], release) for config in others if config["name"] in sources]
        _start_alike(added, {sources[name]: n for name, n in self._cluster.replicas().items() if name in sources})
        self._put([*others, *added])
        names = [config["name"] for config in added]
        self._cluster.wait_until_running(names, self._seconds, on_progress=say)

    def remove(self, slot: str) -> None:
        kept = self._without(slot)
        if len(kept) != len(self._cluster.config()["applications"]):
            self._put(kept)

    def _without(self, slot: str) -> list[dict[str, Any]]:
        """The configurations of all applications but those of a slot."""
        names = {application_name(service, slot) for service in SERVICES}
        return [config for config in self._cluster.config()["applications"] if config["name"] not in names]

    def _put(self, applications: list[dict[str, Any]]) -> None:
        self._cluster.deploy({**serve_config(), "applications": applications})


def _moved(config: dict[str, Any], service: str, release: Release) -> dict[str, Any]:
    """The configuration of a service's application, for another release."""
    moved = copy.deepcopy(config)
    moved["name"] = application_name(service, release.slot)
    moved["route_prefix"] = route_prefix(moved["name"])
    moved["args"] = {**config.get("args", {}), "checkpoint": release.checkpoint}
    return moved


def _start_alike(configs: list[dict[str, Any]], replicas: dict[str, int]) -> None:
    """Lets services whose replicas follow the load start with as many as there are now: all turns come at once."""
    for deployment in (deployment for config in configs for deployment in config["deployments"]):
        bounds = deployment.get("autoscaling_config")
        if bounds and deployment["name"] in replicas:
            least, most = bounds["min_replicas"], bounds["max_replicas"]
            bounds["initial_replicas"] = max(least, min(most, replicas[deployment["name"]]))
