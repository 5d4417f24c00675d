"""The config of a model: its presets, and names that fields had before."""

from __future__ import annotations

import pytest

from parley.config import PRESETS, ParleyConfig, preset

RENAMED = {
    ("speech", "num_prompt_embeddings"): "num_prompt_vectors",
    ("codec", "num_speaker_tokens"): "num_voice_tokens",
    ("codec", "speaker_codes"): "voice_codes",
    ("codec", "default_speaker"): "default_voice",
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_written_before_fields_were_renamed_is_read(name):
    config = preset(name)
    old = config.model_dump(mode="json")
    for (part, field), before in RENAMED.items():
        old[part][before] = old[part].pop(field)
    assert ParleyConfig.model_validate(old) == config
    assert set(config.model_dump()["codec"]) & set(RENAMED.values()) == set()


def test_an_unknown_field_is_refused():
    config = preset("nano").model_dump(mode="json")
    config["speech"]["voices"] = 3
    with pytest.raises(ValueError, match="voices"):
        ParleyConfig.model_validate(config)


def test_an_unknown_preset_names_those_that_there_are():
    with pytest.raises(ValueError, match="there are: nano, vita-small, vita-7b"):
        preset("large")
