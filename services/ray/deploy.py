"""Tells a cluster's Serve which services to run: `python -m services.ray.deploy`, the compose file's step `deploy`.

How often a service runs comes from its settings (PARLEY_LLM_CORE_NUM_REPLICAS and the others). A cluster that runs
already keeps its checkpoints: they are changed by `parley promote`.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace

from services.ray.applications import placement
from services.ray.cluster import Cluster, ClusterError, auth_token
from services.ray.serve_config import Placement, Release, application_name, serve_config
from services.registry import SERVICES

HEAD_SECONDS = 120.0  # that the dashboard has to answer
READY_SECONDS = 600.0  # that the services have to load


def placements() -> dict[str, Placement]:
    """By service, from its settings."""
    settings = {name: service.load_settings() for name, service in SERVICES.items()}
    return {name: replace(placement(each), max_per_node=1) for name, each in settings.items()}


def deploy(cluster: Cluster) -> None:
    """Returns when all services run. Raises `ClusterError` where they do not."""
    releases = _releases(cluster) or [Release()]
    cluster.deploy(serve_config(placements(), releases))
    names = [application_name(service, release.slot) for release in releases for service in SERVICES]
    cluster.wait_until_running(names, READY_SECONDS, on_progress=lambda text: print(text, flush=True))


def _releases(cluster: Cluster) -> list[Release]:
    """Those of the cluster, once it answers."""
    until = time.monotonic() + HEAD_SECONDS
    while True:
        try:
            return cluster.releases()
        except ClusterError:
            if time.monotonic() > until:
                raise
        time.sleep(1.0)


def main() -> None:
    try:
        deploy(Cluster(os.environ.get("PARLEY_SERVE_URL", "http://127.0.0.1:8265"), auth_token()))
    except ClusterError as error:
        sys.exit(f"deploy: {error}")
    print("all services run", flush=True)


if __name__ == "__main__":
    main()
