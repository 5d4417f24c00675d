"""The file that describes a running stack."""

import os
import signal

import pytest

from services.local import processes, state


@pytest.mark.parametrize("text", ["{", "[]", '{"stack_id": 1}'])
def test_a_state_of_another_kind_is_named(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(ValueError, match="damaged or of another version"):
        state.read(tmp_path)


def test_it_is_read_as_it_was_written_by_its_owner_only(tmp_path):
    written = state.StackState(
        "id", os.getpid(), processes.started_at(os.getpid()), str(tmp_path), metrics={"llm_core": "127.0.0.1:1"}
    )
    assert state.read(tmp_path) is None
    state.write(tmp_path, written)
    assert state.read(tmp_path) == written and state.read(tmp_path).alive
    assert state.path(tmp_path).stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["state.json"]


def test_cleanup_removes_what_a_dead_supervisor_left(tmp_path):
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    left = processes.start(
        ["sleep", "600"], {**os.environ, processes.MARKER: "dead"}, tmp_path / "log", start_new_session=True
    )
    dead = state.StackState("dead", supervisor_pid=left.pid, supervisor_started=-1.0, runtime_dir=str(runtime))
    state.write(tmp_path, dead)
    assert not state.read(tmp_path).alive
    assert state.cleanup(tmp_path, dead)
    assert left.wait() == -signal.SIGKILL and not runtime.exists() and state.read(tmp_path) is None
