"""The records of keys in Redis. All of them have the tag `{access}`:

- `keys`           hash: id → JSON of `ApiKey`
- `required`       string: set with the first key, and kept when the last one is revoked, which must open nothing
- `secret:<id>`    string: JSON of `ClientSecret`; expires with it
"""

from __future__ import annotations

from redis.asyncio import Redis

from services.gateway.access.keys import ApiKey, ClientSecret, KeyLimits, new_key
from services.gateway.store.connection import guarded
from services.rpc.errors import ServiceError

MAX_KEYS = 10_000
MAX_NAME = 100  # characters


def access_key(name: str) -> str:
    return f"parley:{{access}}:{name}"


class KeyStore:
    """Raises `ServiceError` UNAVAILABLE while Redis is out of reach."""

    def __init__(self, redis: Redis):
        self._redis = redis

    @guarded
    async def create(self, name: str, limits: KeyLimits) -> str:
        """→ the new key, which nobody can read again. Raises `ValueError` for a name that is empty or too long."""
        if not 0 < len(name.strip()) <= MAX_NAME or not name.isprintable():
            raise ValueError(f"the name of a key has 1 to {MAX_NAME} printable characters")
        if await self._redis.hlen(access_key("keys")) >= MAX_KEYS:
            raise ServiceError.too_much(f"there are {MAX_KEYS} keys, the most there can be; revoke some")
        key, record = new_key(name.strip(), limits)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(access_key("keys"), record.id, record.model_dump_json())
            pipe.set(access_key("required"), "1")
            await pipe.execute()
        return key

    @guarded
    async def list(self) -> list[ApiKey]:
        """The oldest first."""
        records = await self._redis.hvals(access_key("keys"))
        return sorted(map(ApiKey.model_validate_json, records), key=lambda record: (record.created_at, record.id))

    @guarded
    async def revoke(self, key_id: str) -> bool:
        """False where there is no such key."""
        return bool(await self._redis.hdel(access_key("keys"), key_id))

    @guarded
    async def find(self, key_id: str) -> ApiKey | None:
        record = await self._redis.hget(access_key("keys"), key_id)
        return None if record is None else ApiKey.model_validate_json(record)

    @guarded
    async def ever_created(self) -> bool:
        return bool(await self._redis.exists(access_key("required")))

    @guarded
    async def put_secret(self, secret: ClientSecret) -> None:
        await self._redis.set(access_key(f"secret:{secret.id}"), secret.model_dump_json(), exat=secret.expires_at)

    @guarded
    async def find_secret(self, secret_id: str) -> ClientSecret | None:
        record = await self._redis.get(access_key(f"secret:{secret_id}"))
        return None if record is None else ClientSecret.model_validate_json(record)
