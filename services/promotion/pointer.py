"""The release pointer as a promotion writes it, the gateways' reports, and the lock: one promotion at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from redis import Redis
from redis.exceptions import LockError, RedisError

from services.release_pointer import GATEWAY_KEY, LOCK_KEY, POINTER_KEY, GatewayReport, Pointer

LOCK_SECONDS = 30.0  # life of the lock of a promotion that was killed
TIMEOUT = 5.0  # seconds of one call


class PromotionError(Exception):
    """The promotion did not happen, or is not complete; the message says why and what runs now."""


class PointerStore:
    """All methods raise `PromotionError` where Redis is out of reach."""

    def __init__(self, url: str):
        self._redis = Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
        self._lock = self._redis.lock(LOCK_KEY, LOCK_SECONDS, blocking=False, thread_local=False)  # a thread renews it

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Raises `PromotionError` where another promotion runs."""
        with _explained():
            if not self._lock.acquire():
                raise PromotionError("another promotion runs; wait until it has ended")
        try:
            yield
        finally:
            with contextlib.suppress(LockError, RedisError):
                self._lock.release()

    def keep_lock(self) -> None:
        """Renews the lock, also one that has expired. Raises `PromotionError` where another promotion has it now."""
        with _explained():
            try:
                self._lock.reacquire()
            except LockError:
                if not self._lock.acquire():
                    raise PromotionError("this promotion was held up for too long: another one has begun") from None

    def read(self) -> Pointer | None:
        with _explained():
            pointer = self._redis.get(POINTER_KEY)
        return None if pointer is None else Pointer.model_validate_json(pointer)

    def write(self, pointer: Pointer) -> None:
        with _explained():
            self._redis.set(POINTER_KEY, pointer.model_dump_json())

    def clear(self) -> None:
        """Gateways look for the release that serves, as on a first start."""
        with _explained():
            self._redis.delete(POINTER_KEY)

    def reports(self) -> list[GatewayReport]:
        """Of the gateways that run."""
        with _explained():
            names = list(self._redis.scan_iter(match=f"{GATEWAY_KEY}*", count=1000))
            values = self._redis.mget(names) if names else []
        return [GatewayReport.model_validate_json(value) for value in values if value is not None]


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise PromotionError(f"the sessions' Redis cannot be reached: {error}") from None
