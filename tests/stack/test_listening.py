"""What of a running stack listens, and where: the table in docs/security.md is true."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import grpc
import psutil
import pytest

from services.local import memory, ports, processes
from services.registry import SERVICES

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def listening(supervisor_pid: int) -> list[tuple[str, str, int]]:
    """Process, address and TCP port of all that listens of a stack."""
    found = []
    for pid in [supervisor_pid, *processes.descendants(supervisor_pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            name, connections = memory.name_of(process.cmdline()), process.net_connections("tcp")
            addresses = [each.laddr for each in connections if each.status == psutil.CONN_LISTEN]
            found += [(name, address.ip.removeprefix("::ffff:"), address.port) for address in addresses]
    return found


def named_in_the_table() -> set[str]:
    """The processes in the first column of the table "What listens" that have a port."""
    section = PAGE.read_text().split("## What listens")[1].split("##")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `") and "no port" not in line]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_what_listens_is_in_the_table_and_on_this_machine_only(stack):
    """HAProxy's pages and the gRPC ports of replicas and of the fallback proxy listened on every interface."""
    found = listening(stack.state.supervisor_pid)
    assert {name for name, _, _ in found} == named_in_the_table()
    assert [each for each in found if each[1] not in ("127.0.0.1", "::1")] == []


async def test_no_service_tells_its_contracts(stack):
    """Reflection answered without a token, at the proxies and at each replica."""
    first = ports.BLOCKS.index(int(stack.state.services.rpartition(":")[2]) - 1)
    block = range(ports.BLOCKS[first], ports.BLOCKS[first] + ports.BLOCKS.step)
    given = [port for name, _, port in listening(stack.state.supervisor_pid) if name in SERVICES and port in block]
    assert len(given) >= 3 * len(SERVICES)  # gRPC, HTTP and metrics
    for address in (stack.state.services, *(f"127.0.0.1:{port}" for port in given)):
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                async for _ in channel.stream_stream(REFLECTION)(iter([b"\x3a\x00"]), timeout=5):
                    raise AssertionError(f"{address} answers")
