"""Links to the page of a stack: under which addresses a phone reaches it, and a short-lived key to open it with."""

from __future__ import annotations

from services.gateway.access import exposure
from services.gateway.access.key_store import KeyStore
from services.gateway.access.keys import KeyLimits, id_of, new_client_secret
from services.gateway.settings import StoreSettings
from services.gateway.store.connection import connect
from services.local import certificate
from services.local.supervisor import EVERYWHERE

LINK_SECONDS = 2 * 3600  # that the key in a link opens talks


def lan_hosts(host: str) -> list[str]:
    """As URLs write them. `host`: that the gateway listens on."""
    if host in EVERYWHERE:
        return certificate.lan_addresses()
    return [] if exposure.is_loopback(host) else [f"[{host}]" if ":" in host else host]


async def make_key(redis_url: str) -> str:
    """A short-lived key, kept in this Redis: with it go the keys of an embedded one. Raises `ServiceError`."""
    redis = connect(redis_url, StoreSettings(redis_url=redis_url))
    try:
        store = KeyStore(redis)
        parent = await store.create("links of `parley up`", KeyLimits())
        key, record = new_client_secret(id_of(parent), LINK_SECONDS, {"type": "realtime"})
        await store.put_secret(record)
    finally:
        await redis.aclose()
    return key
