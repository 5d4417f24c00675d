"""The installed gRPC knows what `services` asks of it: a later one may not, and then the setting has no effect."""

import os
import subprocess
import sys

import pytest

from services import GRPC_ENVIRONMENT
from services.ray.environment import NODE_ENVIRONMENT

CHANNEL = "import grpc; grpc.insecure_channel('127.0.0.1:1')"


@pytest.mark.parametrize(("experiments", "known"), [(None, True), ("-no_such_experiment", False)])
def test_gRPC_knows_the_experiments(experiments, known):
    environment = {name: value for name, value in os.environ.items() if name not in GRPC_ENVIRONMENT}
    if experiments is not None:
        environment["GRPC_EXPERIMENTS"] = experiments  # what a user asks for stays
    program = [sys.executable, "-c", f"import services; {CHANNEL}"]
    done = subprocess.run(program, env=environment, check=True, capture_output=True, text=True, timeout=50)
    assert ("Unknown experiment" not in done.stderr) is known


def test_nodes_of_ray_have_the_same():
    assert NODE_ENVIRONMENT.items() >= GRPC_ENVIRONMENT.items()
