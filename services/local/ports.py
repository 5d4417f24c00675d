"""Ports of this machine's own address."""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Collection

HOST = "127.0.0.1"
RANGE = range(10_000, 20_000)
BLOCKS = range(20_000, 32_000, 200)  # where each is a stack's


def free(count: int, besides: Collection[int] = ()) -> list[int]:
    """`count` different ports that nothing uses now, outside the range from which the system and Ray take theirs.

    `besides`: ports that are promised to others, who may not use them yet.
    """
    ports = (port for port in random.sample(RANGE, len(RANGE)) if port not in besides and _is_free(port))
    found = list(itertools.islice(ports, count))
    if len(found) < count:
        raise OSError(f"only {len(found)} of {count} ports are free on this machine")
    return found


def claim(besides: Collection[int] = ()) -> tuple[socket.socket, range]:
    """Ports that are one stack's alone, none of them in use, and the socket that says so: to be kept open as long.

    Two stacks must share none. HAProxy would share a port in silence, and goes on for a while with that of a replica
    that has died: a stranger would answer. Looking whether ports are free is not enough when two look at once.
    `besides`: ports that are promised to others, who may not use them yet.
    """
    for start in random.sample(BLOCKS, len(BLOCKS)):
        mark = socket.socket()
        try:
            mark.bind((HOST, start))  # only one can
            mark.listen()
        except OSError:
            mark.close()
            continue
        block = range(start + 1, start + BLOCKS.step)
        if all(port not in besides and _is_free(port) for port in block):
            return mark, block
        mark.close()
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
