"""The Ray Serve config of the four services, as `serve deploy` takes it; the local stack uses the same values.

yaml.safe_dump(serve_config({"llm_core": Placement(num_gpus=1)}))     # the file that `serve deploy` takes
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.ray.scaling import Scaling
from services.registry import SERVICES

PROXY_LOCATION = "EveryNode"  # any node's address is enough to reach all services
NODE_LABEL = "svc"  # a node that runs a service carries this label with the service's name
GRPC_PORT = 9000
HTTP_PORT = 8000

# What every Serve node must register on its gRPC server: the contracts, and the standard health service last.
GRPC_SERVICER_FUNCTIONS = [service.add_to_server for service in SERVICES.values()] + ["services.rpc.health.register"]

# Serve's own lines. Services count their calls themselves, so no line for each of them.
LOGGING = {"encoding": "JSON", "enable_access_log": False}

SLOTS = ("a", "b")  # of releases: a promotion deploys into the free one

SCALING_POLICY = "services.ray.scaling:ScalingPolicy"
REPORTING = {"metrics_interval_s": 5.0, "look_back_period_s": 10.0}  # a replica's load every 2 s, sent every 5 s

DRAIN_SECONDS = 200.0  # that a replica which is removed gives its streams: longer than the longest turn

ACTOR_OPTIONS = {"num_cpus": 0}  # of every replica: engines are limited by their threads, not by Ray's bookkeeping


@dataclass(frozen=True)
class Placement:
    """How often a service runs in a cluster, and what Ray reserves of a node for each replica."""

    num_replicas: int = 1  # with `max_replicas`: the fewest
    num_gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)  # custom ones: a node without them gets no replica
    max_per_node: int | None = None  # where 1, two replicas are never lost with one node
    max_replicas: int | None = None  # above `num_replicas`: Serve adds and removes replicas between the two
    scaling: Mapping[str, float] = field(default_factory=dict)  # what differs from `services.ray.scaling.Scaling`

    def __post_init__(self) -> None:
        if self.num_replicas < 1:
            raise ValueError(f"a service needs at least 1 replica, not {self.num_replicas}")
        if self.max_replicas is not None and self.max_replicas < self.num_replicas:
            raise ValueError(f"the most replicas ({self.max_replicas}) are fewer than the fewest ({self.num_replicas})")
        Scaling.of(self.scaling)

    @property
    def replica_options(self) -> dict[str, Any]:
        """Of a Serve deployment: a fixed number, or bounds and the policy that decides between them."""
        if self.max_replicas in (None, self.num_replicas):
            return {"num_replicas": self.num_replicas}
        return {
            "autoscaling_config": {
                "min_replicas": self.num_replicas,
                "max_replicas": self.max_replicas,
                **REPORTING,
                "upscale_delay_s": 0,  # the policy has its own
                "downscale_delay_s": 0,
                "policy": {"policy_function": SCALING_POLICY, "policy_kwargs": dict(self.scaling)},
            }
        }


@dataclass(frozen=True)
class Release:
    """A checkpoint that is served by one application for each service. Two run side by side during a promotion."""

    slot: str = SLOTS[0]
    checkpoint: str = ""  # folder on the node of the replica; empty: that of PARLEY_CHECKPOINT

    def __post_init__(self) -> None:
        if self.slot not in SLOTS:
            raise ValueError(f"there is no slot {self.slot!r}; the slots are {', '.join(SLOTS)}")


def http_options(host: str, port: int) -> dict:
    """Of Serve's proxy. HAProxy binds its gRPC port to this host as well: `gRPCOptions` has none."""
    return {"host": host, "port": port}


def grpc_options(port: int, servicers: Collection[str] = GRPC_SERVICER_FUNCTIONS) -> dict:
    """`servicers`: import paths of the functions that register the contracts on the proxy's server.

    Nobody asks for reflection, which answers without a token.
    """
    return {"port": port, "grpc_servicer_functions": list(servicers), "enable_reflection": False}


def application_name(service: str, slot: str = SLOTS[0]) -> str:
    """Name of the application that serves `service` in a slot; calls carry it as the metadata `application`."""
    return service if slot == SLOTS[0] else f"{service}-{slot}"


def route_prefix(application: str) -> str:
    """The HTTP path of an application; Serve wants a different one for each, although calls use gRPC."""
    return f"/{application}"


def serve_config(placements: Mapping[str, Placement] | None = None, releases: Sequence[Release] = (Release(),)) -> dict:
    """What `serve deploy` takes, for a cluster whose nodes carry `NODE_LABEL`.

    `placements`: by service; a service that is not named runs once, without a GPU. `releases`: one, or two while a
    promotion runs, in different slots.
    """
    placements = dict(placements or {})
    if unknown := set(placements) - set(SERVICES):
        raise ValueError(f"there is no service {', '.join(sorted(unknown))}; the services are {', '.join(SERVICES)}")
    if len({release.slot for release in releases}) != len(releases):
        raise ValueError("each release needs a slot of its own")
    return {
        "proxy_location": PROXY_LOCATION,
        "http_options": http_options("0.0.0.0", HTTP_PORT),
        "grpc_options": grpc_options(GRPC_PORT),
        "logging_config": dict(LOGGING),
        "applications": [
            _application(name, placements.get(name, Placement()), release) for release in releases for name in SERVICES
        ],
    }


def _application(service: str, placement: Placement, release: Release) -> dict:
    """Its deployment's options replace those that `services.ray.applications` gives in code."""
    actor_options = {**ACTOR_OPTIONS, "label_selector": {NODE_LABEL: service}}
    if placement.num_gpus:
        actor_options["num_gpus"] = placement.num_gpus
    if placement.resources:
        actor_options["resources"] = dict(placement.resources)
    deployment = {"name": service, **placement.replica_options, "ray_actor_options": actor_options}
    if placement.max_per_node is not None:
        deployment["max_replicas_per_node"] = placement.max_per_node
    name = application_name(service, release.slot)
    return {
        "name": name,
        "route_prefix": route_prefix(name),
        "import_path": f"services.ray.applications:{service}",
        "args": {"checkpoint": release.checkpoint},
        "deployments": [deployment],
    }
