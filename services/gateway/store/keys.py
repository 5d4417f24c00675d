"""Names of a session's keys in Redis. Their common `{tag}` puts them into one hash slot of a cluster.

- `config`   string: JSON of `SessionConfig`
- `owner`    string: id of the API key that opened the session; absent: it was opened without one
- `items`    hash: item id → JSON of `Item`
- `order`    list: item ids, oldest first
- `played`   hash: item id → samples played, also of an item that is yet to be appended
- `log`      hash: `epoch` of the newest connection, `sequence` of the last event; `start`, the number that the newest
             connection began after, and `before`, the last event logged before it; `bytes`, the size of `events`
- `events`   stream: the events of the last seconds, bounded in number and bytes
- `running`  hash: `told:<turn id>` and `asked:<turn id>` of turns that another gateway can go on with
- `turn`     string: the token that holds the lease
- `last`     string: the token that held it last

The first six live as long as the session; each of the others has its own expiry.
"""

from __future__ import annotations

from redis.asyncio.client import Pipeline

SESSION = ("config", "items", "order", "played", "log", "owner")


def key(session_id: str, name: str) -> str:
    return f"parley:{{{session_id}}}:{name}"


def keys(session_id: str, *names: str) -> list[str]:
    return [key(session_id, name) for name in names]


def prolong(pipe: Pipeline, session_id: str, life_ms: int) -> None:
    """Queues commands after which the whole session expires `life_ms` milliseconds from now."""
    for name in SESSION:
        pipe.pexpire(key(session_id, name), life_ms)


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
