from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from services.engine.settings import ServiceSettings
from services.gateway.settings import GatewaySettings
from services.registry import SERVICES


class OneService(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PARLEY_ONE_", extra="ignore")


def test_one_variable_for_all_and_one_for_a_service(monkeypatch):
    monkeypatch.setenv("PARLEY_CHECKPOINT", "/for/all")
    monkeypatch.setenv("PARLEY_THREADS", "3")
    monkeypatch.setenv("PARLEY_ONE_THREADS", "2")
    settings = OneService()
    assert (settings.checkpoint, settings.threads) == (Path("/for/all"), 2)


def test_a_value_that_cannot_be_is_refused(monkeypatch):
    monkeypatch.setenv("PARLEY_ONE_THREADS", "0")
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        OneService()


@pytest.mark.parametrize("name", SERVICES)
def test_every_setting_of_every_service_is_described(name):
    settings = SERVICES[name].load_settings()
    assert isinstance(settings, ServiceSettings)
    for field, info in type(settings).model_fields.items():
        assert info.description, f"{field} of {name} has no description"


def test_no_stream_is_ended_for_a_silence_that_the_gateway_allows():
    gateway = GatewaySettings()
    for name in ("language", "voice"):  # their streams wait while a client is slow to read or speaks on
        assert SERVICES[name].load_settings().idle_seconds > gateway.turn_seconds
    assert SERVICES["speech"].load_settings().idle_seconds > gateway.question_idle_seconds
