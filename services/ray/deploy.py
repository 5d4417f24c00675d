"""Tells a cluster's Serve which services to run: `python -m services.ray.deploy`, the compose file's step `deploy`.

How often a service runs comes from its settings (PARLEY_LLM_CORE_NUM_REPLICAS and the others). A cluster that runs
already keeps its checkpoints: they are changed by `parley promote`.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace

from services.promotion.pointer import PointerStore, PromotionError
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


def deploy(cluster: Cluster, redis_url: str = "") -> None:
    """Returns when all services run. Raises `ClusterError` where they do not, `PromotionError` without Redis.

    `redis_url`: of the sessions. A release pointer that an earlier cluster has left there is removed.
    """
    releases = _releases(cluster)
    if not releases:
        releases = [Release()]
        if redis_url:
            PointerStore(redis_url).clear()
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
        url = os.environ.get("PARLEY_SERVE_URL", "http://127.0.0.1:8265")
        deploy(Cluster(url, auth_token()), os.environ.get("REDIS_URL", ""))
    except (ClusterError, PromotionError) as error:
        sys.exit(f"deploy: {error}")
    print("all services run", flush=True)


if __name__ == "__main__":
    main()
