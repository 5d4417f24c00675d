"""The files of other formats that are made from this package: `make deploy-files` writes them anew.

A test keeps each equal to what this module gives.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from pathlib import Path

import yaml

from services.gateway.settings import GatewaySettings
from services.ray.environment import CONTAINER_ENVIRONMENT, env_file
from services.ray.scaling import Scaling
from services.ray.serve_config import DRAIN_SECONDS, NODE_LABEL, SLOTS, Placement, Release, serve_config
from services.registry import SERVICES, import_path

ROOT = Path(__file__).parents[2]
HEADER = "# Written by `make deploy-files` from services/ray; do not edit.\n"

# KubeRay gives each pod the token itself, as RAY_AUTH_TOKEN from a Secret.
POD_ENVIRONMENT = {name: value for name, value in CONTAINER_ENVIRONMENT.items() if name != "RAY_AUTH_TOKEN_PATH"}


def gateway_settings() -> list[str]:
    """Names of the gateway's settings, as its environment has them behind `PARLEY_GATEWAY_`."""
    return [
        f"{group}_{name}".upper()
        for group, field in GatewaySettings.model_fields.items()
        for name in field.annotation.model_fields
    ]


def service_settings(service: str) -> list[str]:
    """Names of a service's settings, as its environment has them behind the service's prefix."""
    return [name.upper() for name in import_path(SERVICES[service].settings).model_fields]


def applications(slot: str) -> dict[str, dict]:
    """Service → its application in a slot, without a checkpoint."""
    config = serve_config(releases=[Release(slot)])
    return dict(zip(SERVICES, config["applications"], strict=True))


def chart_values() -> str:
    """`helm/parley/files/ray.yaml`: what the chart's templates are filled with."""
    config = serve_config()
    del config["applications"]
    content = {
        "rayVersion": importlib.metadata.version("ray"),
        "environment": POD_ENVIRONMENT,
        "drainSeconds": DRAIN_SECONDS,
        "services": list(SERVICES),
        "nodeLabel": NODE_LABEL,
        "serveConfig": config,
        "applications": {slot: applications(slot) for slot in SLOTS},
        "autoscaling": Placement(num_replicas=1, max_replicas=2).replica_options["autoscaling_config"],
        "environmentPrefixes": {name: service.environment_prefix for name, service in SERVICES.items()},
        "settings": {"gateway": gateway_settings(), **{name: service_settings(name) for name in SERVICES}},
        "scalingSettings": [field.name for field in dataclasses.fields(Scaling)],
    }
    return HEADER + yaml.safe_dump(content, sort_keys=False, width=120)


FILES = {"deploy/compose/ray.env": env_file, "helm/parley/files/ray.yaml": chart_values}


if __name__ == "__main__":
    for path, text in FILES.items():
        (ROOT / path).write_text(text())
