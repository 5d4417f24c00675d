"""The echo servicers under real Ray Serve in HAProxy mode: `python echo_node.py GRPC_PORT HTTP_PORT RUNTIME_DIR`."""

import sys
from pathlib import Path

import echo

from services.local.node import run, wait_for_the_end
from services.ray.applications import application

specs = (echo.VISION, echo.SPEECH)
run(
    {spec.name: application(spec) for spec in specs},
    [*(spec.add_to_server for spec in specs), "services.rpc.health.register"],
    int(sys.argv[1]),
    int(sys.argv[2]),
    Path(sys.argv[3]),
)
print("ready", flush=True)
wait_for_the_end({})
