from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from services.engine.settings import AUTO, ServiceSettings
from services.gateway.settings import ConversationSettings
from services.registry import SERVICES


class OneService(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PARLEY_ONE_", extra="ignore")


def test_one_variable_for_all_services_and_one_for_each(monkeypatch):
    monkeypatch.setenv("PARLEY_CHECKPOINT", "/for/all")
    monkeypatch.setenv("PARLEY_THREADS", "3")
    monkeypatch.setenv("PARLEY_ONE_THREADS", "2")
    settings = OneService()
    assert (settings.checkpoint, settings.threads) == (Path("/for/all"), 2)


def test_a_value_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setenv("PARLEY_ONE_THREADS", "0")
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        OneService()


def test_auto_can_be_written_out(monkeypatch):
    for name in ("DEVICE", "DTYPE", "THREADS"):
        monkeypatch.setenv(f"PARLEY_{name}", "cpu" if name == "DEVICE" else "float32" if name == "DTYPE" else "4")
        monkeypatch.setenv(f"PARLEY_ONE_{name}", "auto")
    settings = OneService()
    assert (settings.device, settings.dtype, settings.threads) == (AUTO, AUTO, AUTO)


def test_metrics_are_served_to_this_machine_only_by_default(monkeypatch):
    assert OneService().metrics_host == "127.0.0.1"
    monkeypatch.setenv("PARLEY_METRICS_HOST", "0.0.0.0")
    assert OneService().metrics_host == "0.0.0.0"


@pytest.mark.parametrize("name", SERVICES)
def test_every_setting_of_every_service_is_described(name):
    settings = SERVICES[name].load_settings()
    assert isinstance(settings, ServiceSettings)
    for field, info in type(settings).model_fields.items():
        assert info.description, f"{field} of {name} has no description"


def test_a_stream_may_be_silent_for_as_long_as_the_gateway_allows():
    gateway = ConversationSettings()
    for name in ("llm_core", "speech_decoder"):  # their streams wait while a client is slow to read or speaks on
        assert SERVICES[name].load_settings().idle_seconds > gateway.max_turn_seconds
    assert SERVICES["speech_encoder"].load_settings().idle_seconds > gateway.question_idle_seconds
