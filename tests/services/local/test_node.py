"""The environment of a node: that of every node, and ports and files of its own."""

from pathlib import Path
from types import SimpleNamespace

from services.local.node import NODE_PORTS, environment, explain
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
