"""Ports of this machine's own address."""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Collection

HOST = "127.0.0.1"
RANGE = range(10_000, 20_000)
BLOCKS = range(20_000, 32_000, 200)  # where each is a stack's for its replicas


def free(count: int, besides: Collection[int] = ()) -> list[int]:
    """`count` different ports that nothing uses now, outside the range from which the system and Ray take theirs.

    `besides`: ports that are promised to others, who may not use them yet.
    """
    ports = (port for port in random.sample(RANGE, len(RANGE)) if port not in besides and _is_free(port))
    found = list(itertools.islice(ports, count))
    if len(found) < count:
        raise OSError(f"only {len(found)} of {count} ports are free on this machine")
    return found


def free_block() -> range:
    """Ports of which nothing uses one now: replicas take theirs from it, come and go.

    Two stacks must not share a block: a proxy goes on for a while with the port of a replica that has died, and would
    reach a stranger on it.
    """
    for start in random.sample(BLOCKS, len(BLOCKS)):
        block = range(start, start + BLOCKS.step)
        if all(_is_free(port) for port in block):
            return block
    raise OSError("no block of ports is free on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose(port: int, flag: str, besides: Collection[int] = ()) -> int:
    """`port` if it is free, any free one for 0. Raises `ValueError` naming the flag that chooses another."""
    if port == 0:
        return free(1, besides)[0]
    if port in besides or not _is_free(port):
        raise ValueError(f"port {port} is taken; choose another with {flag} (0: any free one)")
    return port
