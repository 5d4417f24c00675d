"""The environment of every Ray node: text, and nothing that differs from node to node."""

from services.ray.environment import NODE_ENVIRONMENT


def test_it_holds_no_port_no_path_and_no_secret():
    for name, value in NODE_ENVIRONMENT.items():
        assert isinstance(value, str) and "/" not in value, name
        assert not name.endswith(("_PORT", "_PATH", "_LOC", "_TOKEN")), name
