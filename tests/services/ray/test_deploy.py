"""The step that deploys: how often each service runs in a cluster."""

from services.ray.deploy import placements
from services.registry import SERVICES


def test_replicas_come_from_the_settings_and_are_kept_apart(monkeypatch):
    monkeypatch.setenv("PARLEY_LLM_CORE_NUM_REPLICAS", "2")
    found = placements()
    assert list(found) == list(SERVICES)
    assert [found["llm_core"].num_replicas, found["vision_encoder"].num_replicas] == [2, 1]
    assert {placement.max_per_node for placement in found.values()} == {1}
    assert {placement.max_replicas for placement in found.values()} == {None}


def test_bounds_come_from_the_settings(monkeypatch):
    monkeypatch.setenv("PARLEY_SPEECH_DECODER_MAX_REPLICAS", "4")
    assert placements()["speech_decoder"].max_replicas == 4
