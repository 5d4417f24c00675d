"""The base of every service that runs an engine: it starts, describes what it runs, and stops."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

import torch

from parley.checkpoints import Checkpoint
from protos.parley.v1.model_info_pb2 import Load, ModelInfo
from services.engine.device import resolve
from services.engine.load import LATELY_SECONDS
from services.engine.settings import ServiceSettings
from services.engine.thread import EngineThread
from services.rpc.decorator import rpc
from services.telemetry import logs, metrics

E = TypeVar("E", bound=EngineThread)

log = logs.get_logger(__name__)


class EngineService(Generic[E]):
    """`service`: its name in metrics and logs. `checkpoint`, `parts` and `engine` are there once it has started."""

    service: str
    checkpoint: Checkpoint  # opened once: everything is loaded from this one reading of its manifest
    parts: tuple[str, ...]  # of the checkpoint, those that it loads

    def __init__(self, settings: ServiceSettings):
        self.settings = settings  # from `start` on without any `auto`
        self.engine: E | None = None
        self.loop: asyncio.AbstractEventLoop | None = None  # that it was started on

    # Implemented by a service.

    def choose_parts(self) -> tuple[str, ...]:
        """The parts of `self.checkpoint` that this service runs."""
        raise NotImplementedError

    def load(self) -> E:
        """The engine over `self.parts` of `self.checkpoint`, warmed up as far as it can be before its thread runs.

        Runs in a thread of its own. Raises `ValueError` where the checkpoint or the settings do not fit.
        """
        raise NotImplementedError

    async def warm_up(self) -> None:
        """Sends the running engine one request, where `load` does not warm it up."""

    def describe(self) -> ModelInfo:
        """What the service runs. Subclasses add the fields of their own."""
        config = self.checkpoint.config
        return ModelInfo(
            service=self.service,
            model=config.name,
            parts=self.parts,
            weights=self.checkpoint.fingerprint,
            device=self.settings.device,
            dtype=self.settings.dtype,
            embedding_width=config.language.hidden_size,
            load=self._load_lately(),
        )

    def _load_lately(self) -> Load:
        factor, wait = self.engine.factors.p95(LATELY_SECONDS), self.engine.waits.p95(LATELY_SECONDS)
        return Load(real_time_factor=factor or 0.0, queue_seconds=wait or 0.0)

    # Start, stop and health.

    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.engine = await asyncio.to_thread(self._load_engine)
        self.engine.start()
        await self.warm_up()
        running = self.describe()
        checkpoint = str(self.checkpoint.path)
        metrics.SERVICE_INFO.labels(
            self.service, running.model, running.weights, checkpoint, running.device, running.dtype
        ).set(1)

    def _load_engine(self) -> E:
        """Opens the checkpoint, the only time, and loads the engine with settings that fit device and model."""
        self.checkpoint = Checkpoint.open(self.settings.checkpoint)
        self.parts = self.choose_parts()
        self.settings = resolve(self.settings, self.checkpoint.config, self.parts)
        torch.set_num_threads(self.settings.threads)  # of this thread, which warms up
        chosen = {name: getattr(self.settings, name) for name in ("device", "dtype", "threads")}
        limits = {name: getattr(self.settings, name) for name in self.settings.DEVICE_DEFAULTS["cpu"]}
        log.info(
            "loading", checkpoint=str(self.checkpoint.path), weights=self.checkpoint.fingerprint, **chosen, **limits
        )
        return self.load()

    async def stop(self) -> None:
        """Waits for running work to end, then stops the engine."""
        if self.engine is not None:
            await asyncio.to_thread(self.engine.stop)

    def load_stats(self) -> dict[str, float]:
        """What the service's number of replicas follows."""
        return self.engine.current_load().stats()

    @property
    def alive(self) -> bool:
        return self.engine is not None and self.engine.alive

    @rpc
    async def Describe(self, request, context) -> ModelInfo:
        return self.describe()
