"""The folder of a run: which stages are done, which may start."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.run_folder import check_startable, is_done, last_stage, work_folder


def finish(run: Path, *names: str) -> None:
    for name in names:
        (run / name).mkdir(parents=True)
        (run / name / "manifest.json").write_text("{}")


def test_the_last_stage_is_the_last_of_the_recipe(tmp_path):
    finish(tmp_path, "2.1a", "0.2", "1.1")
    assert last_stage(tmp_path) == tmp_path / "2.1a"
    assert is_done(tmp_path, "0.2") and not is_done(tmp_path, "0.1")


def test_a_run_without_a_finished_stage_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no finished stage"):
        last_stage(tmp_path)


def test_a_stage_starts_once_and_continues_only_if_asked(tmp_path):
    check_startable(tmp_path, "0.1", resume=False)
    state = work_folder(tmp_path, "0.1") / "step-00000002"
    state.mkdir(parents=True)
    check_startable(tmp_path, "0.1", resume=False)  # a state that was cut short is none
    (state / ".metadata").write_bytes(b"")
    with pytest.raises(ValueError, match=r"stage 0\.1 was begun in .*; --resume continues it"):
        check_startable(tmp_path, "0.1", resume=False)
    check_startable(tmp_path, "0.1", resume=True)
    finish(tmp_path, "0.1")
    with pytest.raises(ValueError, match=r"stage 0\.1 is done in .*; train it again with another --run"):
        check_startable(tmp_path, "0.1", resume=True)
