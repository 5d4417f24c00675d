"""Each service as a Ray Serve application: `services.ray.applications:vision_encoder` in a Serve file.

A servicer, in `services/<name>/service.py`, is a plain class:

    class LlmCoreService:                  # methods decorated with `services.rpc.decorator.rpc`
        service = "llm_core"               # its name in metrics and logs
        def __init__(self, settings): …    # cheap: nothing is loaded yet
        async def start(self): …           # loads the parts, starts the engine, warms it up; then it is ready
        async def stop(self): …            # waits for running work to end, stops the engine
        alive: bool                        # optional: False when the engine is dead, and Serve replaces the replica
        async def Generate(self, request_iterator, context): …

The same class runs under `grpc.aio` (`services.rpc.server`) and under Ray Serve. Each replica is a process of its own
that loads only its own parts; nothing of a service is imported anywhere else.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from services.engine.settings import ServiceSettings
from services.ray.serve_config import ACTOR_OPTIONS, DRAIN_SECONDS, Placement
from services.registry import SERVICES, Service, import_path
from services.rpc import health
from services.rpc.server import freeze_loaded_objects
from services.telemetry import event_loop, logs, tracing
from services.telemetry.metrics_page import MetricsPage


def __getattr__(name: str):
    """The builders `services.ray.applications:llm_core` and the others, as a Serve file names them."""
    if name in SERVICES:
        return _builder(SERVICES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _builder(service: Service):
    """What Serve calls with the `args` of the Serve file (`services.ray.serve_config`)."""

    def build(args: dict):
        return application(service, args.get("checkpoint", ""))

    return build


def _limit_threads() -> None:
    """One thread for math libraries, which read these when they are first loaded; an engine sets its own number."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"


class Replica:
    """One process of a service under Ray Serve. `application` adds the methods of the contract."""

    spec: Service
    metrics_page: MetricsPage | None = None

    async def __init__(self, checkpoint: str = "") -> None:
        settings = self.spec.load_settings()
        if checkpoint:
            settings = settings.model_copy(update={"checkpoint": Path(checkpoint)})
        self.health = health.process_health
        _limit_threads()  # before the service is imported
        servicer_class = self.spec.load_servicer()
        logs.configure(servicer_class.service)
        tracing.configure(servicer_class.service)
        log = logs.get_logger(__name__)
        self.servicer = servicer_class(settings)
        await self.servicer.start()
        self.metrics_page = MetricsPage(settings.metrics_port, settings.metrics_host)
        self._watching = event_loop.watch(servicer_class.service)
        freeze_loaded_objects()
        self.health.servicer = self.servicer
        self.health.ready = True
        metrics = f"{settings.metrics_host}:{self.metrics_page.port}"
        log.info("ready", checkpoint=str(settings.checkpoint), metrics=metrics)

    def check_health(self) -> None:
        """Called by Serve; after three exceptions the replica is replaced."""
        if not self.health.serving:
            raise RuntimeError(f"the {self.servicer.service} of this replica can no longer answer")

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve every few seconds where the number of replicas follows the load."""
        return self.servicer.load_stats()

    async def __del__(self) -> None:
        """Called by Serve once the replica has no calls left."""
        self.health.ready = False
        await self.servicer.stop()
        if self.metrics_page is not None:
            self.metrics_page.close()
        await asyncio.to_thread(tracing.shutdown)


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


def methods_of(contract: str) -> dict[str, bool]:
    """Method name → whether it streams answers, of a contract whose generated module was imported."""
    from google.protobuf import descriptor_pool

    found = descriptor_pool.Default().FindServiceByName(contract)
    return {method.name: method.server_streaming for method in found.methods}


def placement(settings: ServiceSettings) -> Placement:
    """How often a service runs, as its settings say."""
    scaling = {
        "up_seconds": settings.scale_up_seconds,
        "down_seconds": settings.scale_down_seconds,
        "max_real_time_factor": settings.scale_real_time_factor,
        "ample_real_time_factor": round(0.75 * settings.scale_real_time_factor, 6),
    }
    return Placement(settings.num_replicas, max_replicas=settings.max_replicas or None, scaling=scaling)


def application(service: Service, checkpoint: str = ""):
    """The Ray Serve application of a service, configured from the environment.

    `checkpoint`: a folder on the replica's node; empty: that of the environment there.
    """
    from ray import serve

    import_path(service.generated_add_to_server)  # registers the contract
    settings = service.load_settings()
    forwards = {
        name: _forward_stream(name) if streams else _forward_unary(name)
        for name, streams in methods_of(service.contract).items()
    }
    replica = type("Replica", (Replica,), {"spec": service, **forwards})
    deployment = serve.deployment(
        replica,
        name=service.name,
        **placement(settings).replica_options,
        max_ongoing_requests=2 * settings.max_streams,  # `@rpc` refuses above max_streams; Serve would let calls wait
        max_queued_requests=-1,
        health_check_period_s=2,  # three failures replace a replica
        health_check_timeout_s=2,  # of one that hangs
        graceful_shutdown_timeout_s=DRAIN_SECONDS,
        ray_actor_options=dict(ACTOR_OPTIONS),
    )
    return deployment.bind(checkpoint)
