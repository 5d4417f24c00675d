"""The step that deploys: how often each service runs in a cluster."""

from services.ray.deploy import placements
from services.ray.serve_config import Placement
from services.registry import SERVICES


def test_replicas_come_from_the_settings_and_are_kept_apart(monkeypatch):
    monkeypatch.setenv("PARLEY_LLM_CORE_NUM_REPLICAS", "2")
    found = placements()
    assert list(found) == list(SERVICES)
    assert found["llm_core"] == Placement(2, max_per_node=1) and found["vision_encoder"].num_replicas == 1
