"""What the node of a local stack is told over its socket."""

import socket

import pytest

from services.local import releases
from services.local.releases import DeploymentError, LocalDeployments
from services.ray.serve_config import Release


class Node:
    def __init__(self):
        self.deployed = {"a": Release("a", "first")}

    def releases(self):
        return list(self.deployed.values())

    def deploy(self, release):
        if "broken" in release.checkpoint:
            raise RuntimeError("Traceback\n  File …\nllm_core-b failed to start: ValueError: damaged")
        self.deployed[release.slot] = release

    def remove(self, slot):
        self.deployed.pop(slot, None)


@pytest.fixture
def deployments(tmp_path):
    server = releases.serve(Node(), tmp_path)
    yield LocalDeployments(tmp_path)
    server.shutdown()
    server.server_close()


def test_releases_are_deployed_and_removed(deployments):
    first, second = Release("a", "first"), Release("b", "second")
    assert deployments.releases() == [first]
    deployments.deploy(second, first, print)
    assert deployments.releases() == [first, second]
    deployments.remove("a")
    deployments.remove("a")
    assert deployments.releases() == [second]


def test_a_release_that_does_not_start_is_one_line(deployments):
    with pytest.raises(DeploymentError, match=r"^llm_core-b failed to start: ValueError: damaged$"):
        deployments.deploy(Release("b", "broken"), Release(), print)


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b'{"command": "halt"}\n', b'{"command": "remove", "slot": "z"}\n'])
def test_rubbish_is_refused_and_the_node_goes_on(deployments, line):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(deployments._path))
        connection.sendall(line)
        assert b"not a request of this stack" in connection.makefile("rb").readline()
    assert deployments.releases() == [Release("a", "first")]


def test_a_stack_that_has_ended_is_told(tmp_path):
    with pytest.raises(DeploymentError, match="cannot be reached"):
        LocalDeployments(tmp_path).releases()
