"""What Ray Serve opens for itself stays on the loopback address."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from services.local import loopback

ROOT = Path(__file__).parents[3]


def addresses_of_haproxy() -> str:
    """The lines of Ray Serve's template that say where HAProxy listens, filled in for one machine."""
    (ray,) = importlib.util.find_spec("ray").submodule_search_locations
    template = (Path(ray) / "serve/_private/haproxy_templates.py").read_text()
    lines = [line for line in template.splitlines() if line.strip().startswith("bind ")]
    filled = re.sub(r"{{ config\.\w+_host }}", "127.0.0.1", "\n".join(lines))
    return re.sub(r"{{ config\.\w+_port }}", "9101", filled)


def test_haproxy_gets_its_own_pages_on_the_loopback_address(tmp_path):
    binary, config = tmp_path / "haproxy of a 'user'", tmp_path / "haproxy.cfg"
    binary.write_text('#!/bin/sh\necho "$@"\n')
    binary.chmod(0o700)
    config.write_text(addresses_of_haproxy())
    assert "bind *:9101" in config.read_text() and "bind :9101" in config.read_text()
    launcher = loopback.haproxy_launcher(tmp_path, str(binary))
    arguments = ["-db", "-f", str(config), "-sf", "12"]
    done = subprocess.run([str(launcher), *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.split() == arguments and done.stderr == ""
    assert [line.split()[1] for line in config.read_text().splitlines()] == ["127.0.0.1:9101"] * 4


SERVERS = """
import asyncio
import grpc
import psutil
from services.local import loopback

async def main():
    loopback.listen()
    server = grpc.aio.server()
    assert all(server.add_insecure_port(address) for address in ("[::]:0", "127.0.0.1:0"))
    await server.start()
    found = psutil.Process().net_connections("tcp")
    print(*(one.laddr.ip.removeprefix("::ffff:") for one in found if one.status == psutil.CONN_LISTEN))

asyncio.run(main())
"""


def test_grpc_servers_of_a_process_listen_on_the_loopback_address():
    done = subprocess.run([sys.executable, "-c", SERVERS], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["127.0.0.1"] * 2, done.stderr
