"""A plain servicer class becomes a Ray Serve application that speaks its gRPC service.

What a service provides, in `services/<folder>/service.py`:

    class LanguageService:                 # methods decorated with `services.common.rpc.rpc`
        service = "llm_core"               # its name in metrics and logs
        def __init__(self, settings): …    # cheap: nothing is loaded yet
        async def start(self): …           # loads the parts, starts the engine, answers a warm-up; then it is ready
        async def stop(self): …            # lets running work end, stops the engine
        alive: bool                        # optional: False when the engine is dead, and Serve replaces the replica
        async def Generate(self, request_iterator, context): …

The same class runs under `grpc.aio` (`serve_plain` below; tests) and under Ray Serve (`application`). Each replica is a
process of its own that loads only its own parts; nothing of a service is imported anywhere else.
"""

from __future__ import annotations

import gc
import importlib
import os
from dataclasses import dataclass

import grpc

from services.common import health, logs, metrics
from services.common.settings import ServiceSettings


@dataclass(frozen=True)
class ServiceSpec:
    """Where one service's pieces are, as import paths, so that naming a service does not load it."""

    application: str  # the Serve application, and the `application` metadata of its calls
    grpc_service: str  # full name in the contract
    servicer: str  # "module:Class"
    settings: str  # "module:Class" of a ServiceSettings
    add_to_server: str  # import path of the generated add_…_to_server

    def load_servicer(self) -> type:
        return _import(self.servicer)

    def load_settings(self) -> ServiceSettings:
        return _import(self.settings)()


def _import(path: str):
    """What is at "package.module:Name" or "package.module.name"."""
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _limit_threads(threads: int) -> None:
    """Math libraries read these when they are first loaded, so this comes before the service's import."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)


def keep_what_is_loaded() -> None:
    """Takes what this process holds now from the garbage collector, which would stop it for 0.2 s to look through that.

    Called once a process has loaded and warmed up, before it is asked for anything.
    """
    gc.collect()
    gc.freeze()


class Replica:
    """One process of a service under Ray Serve. `application` adds the methods of the contract."""

    spec: ServiceSpec

    async def __init__(self) -> None:
        settings = self.spec.load_settings()
        self.health = health.process_health
        _limit_threads(settings.threads)
        servicer_class = self.spec.load_servicer()
        logs.configure(servicer_class.service)
        log = logs.get_logger(__name__)
        self.servicer = servicer_class(settings)
        await self.servicer.start()
        port = metrics.serve(settings.metrics_port)
        keep_what_is_loaded()
        self.health.servicer = self.servicer
        self.health.ready = True
        log.info("ready", checkpoint=str(settings.checkpoint), metrics_port=port)

    def check_health(self) -> None:
        """Called by Serve; after three exceptions the replica is replaced."""
        if not self.health.serving:
            raise RuntimeError(f"the {self.servicer.service} of this replica can no longer answer")

    async def __del__(self) -> None:
        """Called by Serve once the replica has no calls left."""
        self.health.ready = False
        await self.servicer.stop()


def _forward_unary(name: str):
    async def call(self, request, grpc_context):
        return await getattr(self.servicer, name)(request, grpc_context)

    return call


def _forward_stream(name: str):
    async def call(self, request, grpc_context):
        answers = getattr(self.servicer, name)(request, grpc_context)
        try:
            async for answer in answers:
                yield answer
        finally:
            await answers.aclose()

    return call


def methods_of(grpc_service: str) -> dict[str, bool]:
    """Method name → whether it streams answers, of a service whose generated module was imported."""
    from google.protobuf import descriptor_pool

    service = descriptor_pool.Default().FindServiceByName(grpc_service)
    return {method.name: method.server_streaming for method in service.methods}


def application(spec: ServiceSpec):
    """The Ray Serve application of a service, configured from the environment."""
    from ray import serve

    _import(spec.add_to_server)  # registers the contract
    settings = spec.load_settings()
    forwards = {
        name: _forward_stream(name) if streams else _forward_unary(name)
        for name, streams in methods_of(spec.grpc_service).items()
    }
    replica = type("Replica", (Replica,), {"spec": spec, **forwards})
    deployment = serve.deployment(
        replica,
        name=spec.application,
        num_replicas=settings.num_replicas,
        max_ongoing_requests=2 * settings.max_streams,  # `@rpc` refuses above max_streams; Serve would let calls wait
        max_queued_requests=-1,
        health_check_period_s=2,  # three failures replace a replica
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=20,
        ray_actor_options={"num_cpus": 0},  # engines are limited by their threads, not by Ray's bookkeeping
    )
    return deployment.bind()


async def serve_plain(spec: ServiceSpec, servicer, address: str = "127.0.0.1:0") -> tuple[grpc.aio.Server, int]:
    """A started `grpc.aio` server of one service, without Ray, and its port. The servicer must have been started."""
    server = grpc.aio.server(options=MESSAGE_LIMITS)
    add_to_server(spec, servicer, server)
    own = health.Health(servicer)
    health.add_to_server(server, own)
    port = server.add_insecure_port(address)
    await server.start()
    own.ready = True
    return server, port


def add_to_server(spec: ServiceSpec, servicer, server) -> None:
    _import(spec.add_to_server)(servicer, server)


# Servers take up to 2 GiB under Serve; clients and plain servers must raise gRPC's own 4 MiB themselves.
MAX_MESSAGE_BYTES = 64 << 20
MESSAGE_LIMITS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)
