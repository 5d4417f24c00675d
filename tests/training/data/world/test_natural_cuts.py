"""Clips of the pools that are cut short: real speech of flite."""

from __future__ import annotations

import pytest

from training.data.sample import completeness, turn_states
from training.data.world import World
from training.data.world.natural_cuts import natural_cut
from training.data.world.pools import Pools
from training.data.world.voices import natural_engines
from training.data.world.whole_questions import is_whole

EXPECTED = {"cut": ("speech", False), "whole": ("speech", True), "unaddressed": ("nothing", None)}


@pytest.mark.skipif("flite" not in natural_engines(), reason="flite is not installed")
def test_only_whole_clips_are_answered(tmp_path, monkeypatch):
    monkeypatch.setenv("PARLEY_SPEECH_CACHE", str(tmp_path))
    found = {}
    for index in range(40):
        if sample := natural_cut(World(0), Pools(0, ("flite",)), index):
            asked, answer = sample.messages[-2:]
            kind = sample.about["kind"]
            found[kind] = found.get(kind, 0) + 1
            assert (turn_states(sample.messages)[-1], completeness(sample.messages)[-1]) == EXPECTED[kind]
            assert bool(answer["content"]) == (kind == "whole")
            heard = asked["content"][-1]
            assert heard["type"] == "audio" and len(heard["audio"]) > 3000
            assert kind != "whole" or is_whole(heard["transcript"])
    assert set(found) == set(EXPECTED) and 15 < sum(found.values()) < 40


def test_without_natural_voices_there_is_none():
    assert natural_cut(World(0), Pools(0, ()), 1) is None
