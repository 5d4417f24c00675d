"""A node: its environment is that of every node, and ports and files of its own; how long it stays."""

import os
import signal
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.local.node import NODE_PORTS, environment, explain, ray_processes, wait_for_the_end
from services.ray.environment import NODE_ENVIRONMENT


def of_a_node(name: str, first_port: int) -> dict[str, str]:
    free_ports = list(range(first_port, first_port + NODE_PORTS))
    return environment(Path("/tmp") / name, free_ports, range(first_port + 10, first_port + 110), f"token-{name}")


def test_two_nodes_on_one_machine_share_nothing_but_what_every_node_has():
    one, two = of_a_node("one", 20_000), of_a_node("two", 21_000)
    shared = {key: value for key, value in one.items() if two[key] == value}
    assert set(NODE_ENVIRONMENT) < set(shared)
    assert set(shared) - set(NODE_ENVIRONMENT) == {
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
        "RAY_num_workers_soft_limit",
    }


def test_replicas_take_ports_for_grpc_and_http_that_do_not_overlap():
    node = of_a_node("one", 20_000)
    grpc, http = (
        range(
            int(node[f"RAY_SERVE_DIRECT_INGRESS_MIN_{kind}_PORT"]),
            int(node[f"RAY_SERVE_DIRECT_INGRESS_MAX_{kind}_PORT"]) + 1,
        )
        for kind in ("GRPC", "HTTP")
    )
    assert sorted([*grpc, *http]) == list(range(20_010, 20_110)) and len(grpc) == len(http) == 50


def test_the_last_line_of_a_failed_start_is_the_error():
    def application(name: str, status: str, message: str) -> SimpleNamespace:
        return SimpleNamespace(deployments={name: SimpleNamespace(status=status, message=message)})

    explained = explain(
        {
            "vision_encoder": application("vision_encoder", "HEALTHY", ""),
            "llm_core": application("llm_core", "DEPLOY_FAILED", "Traceback\n  File …\nValueError: no tokenizer\n\n"),
        }
    )
    assert "File …" in explained
    assert explained.splitlines()[-1] == "llm_core failed to start: ValueError: no tokenizer"
    assert explain({"vision_encoder": application("vision_encoder", "HEALTHY", "")}) == ""


@pytest.fixture
def a_process():
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def handlers():
    """Puts the handlers of signals back: a process that a later test forks would ignore SIGTERM."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_node_ends_with_a_process_that_ray_needs(a_process, handlers):
    """It went on for ever, and nothing that ended afterwards was replaced."""
    threading.Timer(0.2, a_process.kill).start()
    assert wait_for_the_end({"node": os.getpid(), "raylet": a_process.pid}) == "raylet"


def test_a_node_waits_for_a_signal(a_process, handlers):
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    assert wait_for_the_end({"raylet": a_process.pid}) == ""


def test_the_processes_that_ray_needs_are_found_by_their_names(tmp_path):
    for name in ("raylet", "monitor"):
        (tmp_path / name).symlink_to("/bin/sleep")
    started = [subprocess.Popen([str(tmp_path / name), "600"]) for name in ("raylet", "monitor")]
    assert ray_processes() == {"raylet": started[0].pid}
    for process in started:
        process.kill()
        process.wait()
