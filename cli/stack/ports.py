"""Ports of this machine's own address."""

from __future__ import annotations

import random
import socket

HOST = "127.0.0.1"
RANGE = (15_000, 28_000)


def free(count: int) -> list[int]:
    """`count` different ports that nothing uses now, outside the range from which the system and Ray take theirs."""
    found: set[int] = set()
    for port in random.sample(range(*RANGE), k=RANGE[1] - RANGE[0]):
        if len(found) == count:
            break
        if _is_free(port):
            found.add(port)
    return list(found)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose(port: int, flag: str) -> int:
    """`port` if it is free, any free one for 0. Raises `ValueError` naming the flag that chooses another."""
    if port == 0:
        return free(1)[0]
    if not _is_free(port):
        raise ValueError(f"port {port} is taken; choose another with {flag} (0: any free one)")
    return port
