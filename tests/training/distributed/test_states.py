"""Saved states: read back as they were, the newest whole ones are kept, and what cannot be written is told."""

from __future__ import annotations

import resource
import signal

import pytest
import torch

from training.distributed.states import SavedStates
from training.run_folder import METADATA, saved_states


def tensors(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return {
        "language.weight": torch.randn(3, 4, generator=generator),
        "half": torch.randn(5, generator=generator).bfloat16(),
        "empty": torch.zeros(0, 2),
        "step": torch.tensor(step),
    }


def zeros() -> dict[str, torch.Tensor]:
    return {name: torch.full_like(tensor, 9) for name, tensor in tensors(0).items()}


def test_a_state_is_read_back_as_it_was(tmp_path):
    SavedStates(tmp_path).save(7, tensors(7), wait=True)
    states, found = SavedStates(tmp_path), zeros()
    assert states.newest().name == "step-00000007"
    assert states.shapes(states.newest()) == {name: tensor.shape for name, tensor in tensors(7).items()}
    states.load(states.newest(), found)
    assert all(torch.equal(tensor, found[name]) for name, tensor in tensors(7).items())


def test_what_changes_while_it_is_written_is_not_saved(tmp_path):
    """The training goes on at once."""
    states, now, found = SavedStates(tmp_path), tensors(3), zeros()
    states.save(3, now)
    for tensor in now.values():
        tensor.zero_()
    states.finish()
    states.load(states.newest(), found)
    assert torch.equal(found["language.weight"], tensors(3)["language.weight"])


def test_the_two_newest_are_kept_and_what_was_cut_short_is_removed(tmp_path):
    states = SavedStates(tmp_path)
    cut_short = tmp_path / "step-00000099"
    cut_short.mkdir()
    (cut_short / "__0_0.distcp").write_bytes(b"half")
    assert states.newest() is None
    for step in (8, 9, 10, 11):
        states.save(step, tensors(step))
    states.finish()
    assert [path.name for path in saved_states(tmp_path)] == ["step-00000011", "step-00000010"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000011"]


def test_a_state_without_its_metadata_is_passed_over(tmp_path):
    states = SavedStates(tmp_path)
    for step in (1, 2):
        states.save(step, tensors(step), wait=True)
    (tmp_path / "step-00000002" / METADATA).unlink()
    assert states.newest().name == "step-00000001"


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
