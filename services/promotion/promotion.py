"""A promotion: the four services change to another checkpoint, and no turn is lost.

The new release is deployed in the free slot, beside the old one. Once its services run, agree on their weights and have
answered the warm-up question, the release pointer is moved: gateways bind new turns to it. The old release is removed
when no turn is bound to it any more. Whatever fails before the pointer is moved leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from protos.parley.v1.model_info_pb2 import ModelInfo
from services.gateway.settings import UpstreamSettings
from services.gateway.upstream.calls import Calls
from services.gateway.upstream.releases import ServingReleases
from services.promotion import warm_up
from services.promotion.deployments import Deployments, Say
from services.promotion.pointer import LOCK_SECONDS, PointerStore, PromotionError
from services.ray.serve_config import SLOTS, Release
from services.registry import SERVICES
from services.release_pointer import POLL_SECONDS, Pointer
from services.rpc.errors import ServiceError

SETTLE_SECONDS = 60.0  # that new applications have to be reachable at the proxies
OF_SESSIONS = ("input_sample_rate", "output_sample_rate")  # what open sessions were told: it cannot change under them
STAYS = "the new release is in use, the old one runs beside it until the next promotion takes its place"


@dataclass(frozen=True)
class Limits:
    """Seconds."""

    drain: float = 240.0  # that turns of the old release have to end; above the gateway's `max_turn_seconds`


class Promotion:
    """`services`: addresses of the Serve proxies, host:port[,host:port]. Its methods raise `PromotionError`."""

    def __init__(self, deployments: Deployments, pointer: PointerStore, services: str, say: Say, limits: Limits):
        self._deployments, self._pointer, self._say, self._limits = deployments, pointer, say, limits
        self._settings = UpstreamSettings(addresses=services, recovery_seconds=SETTLE_SECONDS)

    def promote(self, checkpoint: str) -> Pointer:
        """Returns the pointer to the new release, which all gateways follow by then."""
        with self._locked():
            return self._promote(checkpoint, self._current())

    def back(self) -> Pointer:
        """Promotes the checkpoint that the current release has replaced."""
        with self._locked():
            current = self._current()
            if current.previous_checkpoint is None:
                raise PromotionError("there is nothing to go back to: no promotion has been made")
            return self._promote(current.previous_checkpoint, current)

    def _promote(self, checkpoint: str, current: Pointer) -> Pointer:
        new = Release(next(slot for slot in SLOTS if slot != current.slot), checkpoint)
        weights = self._start(new, current)
        self._pointer.keep_lock()  # raises where both slots are another promotion's by now
        pointer = Pointer(slot=new.slot, checkpoint=checkpoint, weights=weights, previous_checkpoint=current.checkpoint)
        self._say(f"new questions go to {weights} from now on")
        self._pointer.write(pointer)
        try:
            self._drain(current.slot, new.slot)
            self._deployments.remove(current.slot)
        except KeyboardInterrupt:
            raise PromotionError(f"stopped after the change: {STAYS}") from None
        return pointer

    # What runs now.

    def _current(self) -> Pointer:
        deployed = {release.slot: release for release in self._deployments.releases()}
        pointer = self._pointer.read()
        if (pointer is None or pointer.slot not in deployed) and len(deployed) == 1:
            (release,) = deployed.values()
            pointer = Pointer(slot=release.slot)
        if pointer is None or pointer.slot not in deployed:
            found = f"deployed: {', '.join(sorted(deployed)) or 'nothing'}"
            raise PromotionError(f"it is not known which release is in use ({found}); start the gateways first")
        return pointer.model_copy(update={"checkpoint": deployed[pointer.slot].checkpoint})

    # The new release.

    def _start(self, new: Release, current: Pointer) -> str:
        """Returns its weights. Whatever goes wrong, it is removed again, and the old one goes on."""
        self._deployments.remove(new.slot)  # what a promotion that was killed has left
        self._say(f"starting {new.checkpoint or 'the first checkpoint'} beside what runs")
        try:
            self._deployments.deploy(new, Release(current.slot, current.checkpoint), self._say)
            return asyncio.run(self._examine(new.slot, current.slot))
        except BaseException as error:
            self._say("removing the new release")
            self._deployments.remove(new.slot)
            if isinstance(error, KeyboardInterrupt):
                raise PromotionError("stopped; everything stays on the old checkpoint") from None
            if not isinstance(error, Exception):
                raise
            raise PromotionError(f"{error}; everything stays on the old checkpoint") from error

    async def _examine(self, new: str, current: str) -> str:
        """The weights of the new release, once it has answered. Raises where it could not take the other's place."""
        releases = ServingReleases(self._settings)
        try:
            before = await _describe(releases.of(current))
            after = await _describe(releases.of(new))
            weights = _check(before, after)
            self._say(f"asking {weights} the warm-up question")
            collected = await warm_up.ask(releases.of(new))
            if not collected.samples:
                raise PromotionError("the warm-up question was answered without a sound")
            return weights
        except ServiceError as error:
            raise PromotionError(f"the new release does not answer: {error.message}") from None
        finally:
            await releases.close()

    # The old release.

    def _drain(self, old: str, new: str) -> None:
        """Returns when every gateway uses the new release and none has a turn of the old one."""
        until = time.monotonic() + self._limits.drain
        said = ""
        time.sleep(2 * POLL_SECONDS)  # every gateway that runs has reported since the pointer was moved
        while True:
            reports = self._pointer.reports()
            turns = sum(report.turns.get(old, 0) for report in reports)
            behind = sum(report.slot != new for report in reports)
            if not turns and not behind:
                return
            text = f"{turns} turns and {behind} gateways still use the old release"
            if time.monotonic() > until:
                raise PromotionError(f"{text} after {self._limits.drain:g} s: {STAYS}")
            if text != said:
                self._say(text)
                said = text
            time.sleep(POLL_SECONDS)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """The lock, renewed for as long as it takes."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(LOCK_SECONDS / 3):
                with contextlib.suppress(PromotionError):  # said where it matters: the lock has a life of its own
                    self._pointer.keep_lock()

        with self._pointer.locked():
            thread = threading.Thread(target=renew, daemon=True)
            thread.start()
            try:
                yield
            finally:
                ended.set()
                thread.join()


async def _describe(calls: Calls) -> dict[str, ModelInfo]:
    return dict(zip(SERVICES, await asyncio.gather(*map(calls.describe, SERVICES)), strict=True))


def _check(before: dict[str, ModelInfo], after: dict[str, ModelInfo]) -> str:
    """The weights that all services of the new release agree on."""
    weights = {info.weights for info in after.values()}
    if len(weights) != 1:
        found = ", ".join(f"{service} {info.weights}" for service, info in after.items())
        raise PromotionError(f"the services do not run the same weights: {found}")
    (name,) = weights
    if any(info.weights == name for info in before.values()):
        raise PromotionError(f"{name} is served already")
    for service, info in after.items():
        for field in OF_SESSIONS:
            old, new = getattr(before[service], field), getattr(info, field)
            if old != new:
                raise PromotionError(f"{field} of {service} would change from {old} to {new}: open sessions know it")
    return name
