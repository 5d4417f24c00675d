"""The environment of every Ray node: text, and nothing that differs from node to node."""

from pathlib import Path

from services.ray.environment import NODE_ENVIRONMENT, env_file

ROOT = Path(__file__).parents[3]


def test_it_holds_no_port_no_path_and_no_secret():
    for name, value in NODE_ENVIRONMENT.items():
        assert isinstance(value, str) and "/" not in value, name
        assert not name.endswith(("_PORT", "_PATH", "_LOC", "_TOKEN")), name


def test_the_file_of_the_containers_is_made_from_it():
    written = (ROOT / "deploy/compose/ray.env").read_text()
    assert written == env_file(), "run `make deploy-files`"
