"""One model of a Triton server, called by an engine's thread.

Notable points:
- Calls run on the service's event loop through `tritonclient.grpc.aio`; the engine's thread waits for them.
- Every call has a time limit. A watch probes the server twice a second: once the server or the model has failed
  `MAX_FAILURES` probes, calls in flight are cancelled, new ones refused, and `alive` is False until it answers again.
- A server that is away is UNAVAILABLE for callers, who may try another replica; a model that fails is INTERNAL, as a
  failed step of a local engine is.
- The model's name contains the fingerprint of its weights, so no call ever reaches others.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import grpc
import numpy as np
from tritonclient.grpc import InferInput, model_config_pb2
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from parley.export.signature import FORMAT, model_name
from services.engine.backend_settings import BackendSettings
from services.rpc.errors import ServiceError
from services.telemetry import logs

PROBE_INTERVAL_SECONDS = 0.5
PROBE_TIMEOUT_SECONDS = 2.0
MAX_FAILURES = 2  # probes in a row
RETRY_AFTER_SECONDS = 1.0
MAX_MESSAGE_BYTES = 256 << 20
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A server that comes back is found at the next probe, not after gRPC's default of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
# What Triton answers when it is away, stops, has dropped a sequence, or lacks the model by now.
AWAY = ("UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "NOT_FOUND")
LOST_SEQUENCE = "must specify the START flag"

T = TypeVar("T")
S = TypeVar("S", bound=BackendSettings)

log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Call:
    """One inference; `sequence` 0: of no sequence."""

    inputs: Mapping[str, np.ndarray]
    sequence: int = 0
    start: bool = False
    end: bool = False


class TritonModel:
    """Made by `connect`. `parameters`, `max_batch` and `alive` may be read from any thread."""

    def __init__(
        self,
        service: str,
        weights: str,
        settings: BackendSettings,
        loop: asyncio.AbstractEventLoop,
        choices: Mapping[str, str],
    ):
        self.name = model_name(service, weights)
        self.url = settings.triton_url
        self._timeout, self._start_seconds = settings.triton_timeout_seconds, settings.triton_start_seconds
        self.alive = False
        self.parameters: dict[str, str] = {}
        self.max_batch = 0
        self._wanted = {"format": FORMAT, "weights": weights, **choices}
        self._loop = loop
        self._in_flight: set[asyncio.Task] = set()
        self._failures = 0  # of probes, in a row
        self._answered = False  # once: the first call may have to wait until the server has allocated its memory

    # Called from threads.

    @classmethod
    def connect(
        cls,
        service: str,
        weights: str,
        settings: BackendSettings,
        loop: asyncio.AbstractEventLoop,
        choices: Mapping[str, str] = MappingProxyType({}),
    ) -> TritonModel:
        """Waits until the server serves the model of these weights, at most `triton_start_seconds`.

        Called in a thread that is not the loop's. `choices`: what the model must have been exported with.
        Raises `ValueError` with what the server lacks.
        """
        model = cls(service, weights, settings, loop, choices)
        try:
            model._run(model._open(), settings.triton_start_seconds + PROBE_TIMEOUT_SECONDS)
        except BaseException:
            model.close()
            raise
        return model

    def describe(self, settings: S) -> S:
        """A copy of the settings that says where the model runs."""
        return settings.model_copy(update={"device": "triton", "dtype": self.parameters["dtype"]})

    def infer(self, calls: Sequence[Call]) -> list[dict[str, np.ndarray]]:
        """The outputs of each call, by name. The calls run at once. Raises `ServiceError` or `RuntimeError`."""
        if not self.alive:
            raise self._unavailable("does not answer")
        outputs = self._run(self._infer_all(calls), self._time_limit + PROBE_TIMEOUT_SECONDS)
        self._answered = True
        return outputs

    def post(self, call: Call) -> None:
        """A call whose outputs nobody needs. It may fail, and nobody waits for it."""
        if self.alive:
            self._loop.call_soon_threadsafe(lambda: self._task(self._infer(call)))

    @property
    def _time_limit(self) -> float:
        return self._timeout if self._answered else self._start_seconds

    def close(self) -> None:
        if not self._loop.is_closed():
            self._run(self._close(), PROBE_TIMEOUT_SECONDS)

    def _run(self, coroutine: Coroutine[Any, Any, T], seconds: float) -> T:
        """Runs it on the loop. The time limit is of last resort: the coroutine has its own."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(seconds)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise self._unavailable("took too long") from None

    # Called on the loop.

    async def _open(self) -> None:
        self._client = InferenceServerClient(self.url, channel_args=CHANNEL_OPTIONS)
        end = time.monotonic() + self._start_seconds
        while not await self._probe():
            if time.monotonic() >= end:
                raise ValueError(await self._missing())
            await asyncio.sleep(PROBE_INTERVAL_SECONDS)
        config = await self._config()
        self.parameters = _parameters(config)
        self._check(self.parameters)
        self.max_batch = config.max_batch_size
        self.alive = True
        self._watcher = asyncio.create_task(self._watch())

    def _check(self, parameters: Mapping[str, str]) -> None:
        for key, wanted in self._wanted.items():
            if parameters.get(key) != wanted:
                raise ValueError(
                    f"{self._model} has {key} {parameters.get(key, 'of no value')}, but this service needs {wanted}; "
                    "export the checkpoint again, with the options that the service is set to"
                )

    async def _missing(self) -> str:
        """Why the model cannot be used."""
        try:
            index = await self._client.get_model_repository_index(client_timeout=PROBE_TIMEOUT_SECONDS)
        except InferenceServerException as error:
            return f"no Triton server at {self.url}: {_first_line(error)}"
        found = ", ".join(f"{model.name} ({model.state or 'not loaded'})" for model in index.models) or "no models"
        return (
            f"the Triton server at {self.url} does not serve {self.name}, the model of this checkpoint's weights; "
            f"it has: {found}. `parley export triton` writes the model"
        )

    async def _probe(self) -> bool:
        """Whether the server lives and the model is ready."""
        try:
            return await self._client.is_server_live(client_timeout=PROBE_TIMEOUT_SECONDS) and (
                await self._client.is_model_ready(self.name, client_timeout=PROBE_TIMEOUT_SECONDS)
            )
        except InferenceServerException:
            return False

    async def _config(self) -> model_config_pb2.ModelConfig:
        response = await self._client.get_model_config(self.name, client_timeout=PROBE_TIMEOUT_SECONDS)
        return response.config

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(PROBE_INTERVAL_SECONDS)
            self._failures = 0 if await self._probe() else self._failures + 1
            if self.alive and self._failures >= MAX_FAILURES:
                self._lose()
            elif not self.alive and not self._failures:
                await self._find()

    def _lose(self) -> None:
        log.error("Triton does not answer", url=self.url, model=self.name, in_flight=len(self._in_flight))
        self.alive = False
        for task in self._in_flight:
            task.cancel()

    async def _find(self) -> None:
        """The server answers again: calls go on if its model is still the same."""
        try:
            self.alive = _parameters(await self._config()) == self.parameters
        except InferenceServerException:
            return
        log.info("Triton answers again", url=self.url, model=self.name, same_model=self.alive)

    async def _infer_all(self, calls: Sequence[Call]) -> list[dict[str, np.ndarray]]:
        # All end before one is reported: the next step must not meet a call of this one.
        results = await asyncio.gather(*(self._task(self._infer(call)) for call in calls), return_exceptions=True)
        for result in results:
            if isinstance(result, asyncio.CancelledError):
                raise self._unavailable("does not answer")
            if isinstance(result, BaseException):
                raise self._error(result)
        return results

    def _task(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(coroutine)
        self._in_flight.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task) -> None:
        self._in_flight.discard(task)
        if not task.cancelled():
            task.exception()  # read, so that a posted call that fails is not logged as forgotten

    async def _infer(self, call: Call) -> dict[str, np.ndarray]:
        result = await self._client.infer(
            self.name,
            [_input(name, array) for name, array in call.inputs.items()],
            sequence_id=call.sequence,
            sequence_start=call.start,
            sequence_end=call.end,
            client_timeout=self._time_limit,
        )
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}

    async def _close(self) -> None:
        self.alive = False
        tasks = list(self._in_flight)
        if watcher := getattr(self, "_watcher", None):
            watcher.cancel()
            tasks.append(watcher)
        if tasks:
            await asyncio.wait(tasks, timeout=PROBE_TIMEOUT_SECONDS / 2)
        with contextlib.suppress(AttributeError):
            await self._client.close()

    # Errors.

    def _error(self, error: BaseException) -> Exception:
        """As the engine should raise it."""
        if not isinstance(error, InferenceServerException):
            return RuntimeError(f"a call of {self._model} failed: {error!r}")
        status = (error.status() or "").removeprefix("StatusCode.")
        if status in AWAY or LOST_SEQUENCE in str(error.message()):
            log.warning("Triton is away", url=self.url, model=self.name, status=status, reason=_first_line(error))
            return self._unavailable("is away")
        return RuntimeError(f"{self._model} failed: {status} {_first_line(error)}")

    def _unavailable(self, what: str) -> ServiceError:
        message = f"the model's server {what}; try again"
        return ServiceError(grpc.StatusCode.UNAVAILABLE, message, RETRY_AFTER_SECONDS)

    @property
    def _model(self) -> str:
        return f"the model {self.name} of the Triton server at {self.url}"


def _input(name: str, array: np.ndarray) -> InferInput:
    tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def _parameters(config: model_config_pb2.ModelConfig) -> dict[str, str]:
    return {key: parameter.string_value for key, parameter in config.parameters.items()}


def _first_line(error: InferenceServerException) -> str:
    return str(error.message()).partition("\n")[0]
