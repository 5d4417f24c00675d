"""Damaged files are read or refused in words; benchmarks/fuzz.py tries many more of them.

The examples are the same in every run, so that a failure can be made again.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import verdict_of_file
from benchmarks.fuzz_files import damaged, samples, with_checksums

FIXED = settings(derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
RANDOMS = st.randoms(use_true_random=False)


@settings(FIXED, max_examples=300)
@given(RANDOMS)
def test_pictures(random):
    assert verdict_of_file("picture", damaged("picture", random))[0] in ("read", "refused")


@settings(FIXED, max_examples=60)
@given(RANDOMS)
def test_videos(random):
    assert verdict_of_file("video", damaged("video", random))[0] in ("read", "refused")


@settings(FIXED, max_examples=150)
@given(RANDOMS)
def test_sounds(random):
    assert verdict_of_file("sound", damaged("sound", random))[0] in ("read", "refused")


@pytest.mark.parametrize("kind", ["picture", "video", "sound"])
def test_the_files_are_good_before_they_are_damaged(kind):
    assert {name: verdict_of_file(kind, data)[0] for name, data in samples(kind).items()} == dict.fromkeys(
        samples(kind), "read"
    )


def test_checksums_that_are_right_stay():
    for name, data in samples("picture").items():
        assert not name.startswith("png") or with_checksums(data) == data


def test_an_exception_that_is_no_refusal_is_found(monkeypatch):
    def broken(data: bytes, max_pixels: int):
        raise AttributeError("width")

    monkeypatch.setattr("parley.media.image.read_image", broken)
    assert verdict_of_file("picture", b"") == ("wrong", "AttributeError: width")
