"""Free ports of this machine's loopback address."""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Collection

HOST = "127.0.0.1"
RANGE = range(10_000, 20_000)
BLOCKS = range(20_000, 32_000, 200)  # first ports of the blocks that can be reserved


def free(count: int, exclude: Collection[int] = ()) -> list[int]:
    """`count` different ports that nothing uses now, outside the range from which the system and Ray take theirs.

    `exclude`: ports that are assigned already, even if nothing listens on them yet.
    """
    ports = (port for port in random.sample(RANGE, len(RANGE)) if port not in exclude and _is_free(port))
    found = list(itertools.islice(ports, count))
    if len(found) < count:
        raise OSError(f"only {len(found)} of {count} ports are free on this machine")
    return found


def reserve(exclude: Collection[int] = ()) -> tuple[socket.socket, range]:
    """A block of free ports for one stack alone, and the socket that reserves it for as long as the socket is open.

    Two stacks must not share a port: HAProxy binds a port that another HAProxy has without an error, and for a while it
    goes on sending calls to the port of a replica that has died. Looking for free ports is not enough, because two
    stacks may look at the same time. `exclude`: ports that are assigned already.
    """
    for start in random.sample(BLOCKS, len(BLOCKS)):
        reservation = socket.socket()
        try:
            reservation.bind((HOST, start))  # only one process can
            reservation.listen()
        except OSError:
            reservation.close()
            continue
        block = range(start + 1, start + BLOCKS.step)
        if all(port not in exclude and _is_free(port) for port in block):
            return reservation, block
        reservation.close()
    raise OSError("no block of ports is free on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose(port: int, flag: str, exclude: Collection[int] = ()) -> int:
    """`port` if it is free, any free one for 0. Raises `ValueError` naming the flag that chooses another."""
    if port == 0:
        return free(1, exclude)[0]
    if port in exclude or not _is_free(port):
        raise ValueError(f"port {port} is taken; choose another with {flag} (0: any free one)")
    return port
