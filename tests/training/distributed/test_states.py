"""Saved states that cannot be written."""

from __future__ import annotations

import resource
import signal

import pytest
import torch

from training.distributed.states import SavedStates


@pytest.fixture
def full_disk():
    """No file can have more than 1,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_told_in_one_line_and_the_state_before_stays(tmp_path, request):
    states, tensors = SavedStates(tmp_path), {"weight": torch.zeros(10_000)}
    states.save(1, tensors, wait=True)
    request.getfixturevalue("full_disk")
    with pytest.raises(ValueError, match=r"a state could not be written to .*; is the disk full\?"):
        states.save(2, tensors, wait=True)
    assert states.newest().name == "step-00000001"


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path):
    (tmp_path / "work").write_text("in the way")
    with pytest.raises(ValueError, match="could not be written"):
        SavedStates(tmp_path / "work").save(1, {"weight": torch.zeros(3)}, wait=True)
