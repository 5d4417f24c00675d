"""The written files are those that the code gives."""

from pathlib import Path

import pytest

from services.gateway.settings import GatewaySettings
from services.ray import files

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", files.FILES)
def test_a_written_file_is_what_the_code_gives(path):
    assert (ROOT / path).read_text() == files.FILES[path](), "run `make deploy-files`"


def test_the_names_of_settings_are_read_from_the_environment(monkeypatch):
    for name in files.gateway_settings():
        group, _, field = name.lower().partition("_")
        default = getattr(getattr(GatewaySettings(), group), field)
        monkeypatch.setenv(f"PARLEY_GATEWAY_{name}", str(default))
    assert GatewaySettings() == GatewaySettings.model_validate(GatewaySettings().model_dump())
    monkeypatch.setenv("PARLEY_GATEWAY_CONVERSATION_MAX_TURN_SECONDS", "77")
    assert GatewaySettings().conversation.max_turn_seconds == 77


def test_pods_are_given_no_path_of_a_token():
    assert "RAY_AUTH_TOKEN_PATH" not in files.POD_ENVIRONMENT
