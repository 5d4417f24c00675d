"""A run in an object store, here one of fsspec in memory."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import fsspec
import pytest

from parley.checkpoints.manifest import MANIFEST
from training.launch import object_store
from training.launch.object_store import RunStore
from training.run_folder import IDENTITY_FILE, METADATA, is_done, saved_states, work_folder


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}/runs/tiny"


def stored(url: str) -> set[str]:
    """Paths of the files there, from the folder of the run."""
    root = url.removeprefix("memory:/")
    return {path[len(root) + 1 :] for path in fsspec.filesystem("memory").find(root)}


def write_stage(run: Path, stage: str, files=("vision_encoder.safetensors", MANIFEST)) -> None:
    (run / stage).mkdir(parents=True)
    for name in files:
        (run / stage / name).write_text(f"{stage} {name}")


def write_state(run: Path, stage: str, step: int, whole: bool = True) -> Path:
    """As `torch.distributed.checkpoint` leaves it, from two processes."""
    folder = work_folder(run, stage)
    state = folder / f"step-{step:08}"
    state.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(json.dumps({"step": step}))
    (folder / IDENTITY_FILE).write_text("{}")
    for name in ("__0_0.distcp", "__1_0.distcp", *([METADATA] if whole else [])):
        (state / name).write_text(f"step {step}")
    return state


def test_what_one_pod_uploads_another_one_fetches(tmp_path, url):
    write_stage(tmp_path / "a", "0.1")
    state = write_state(tmp_path / "a", "0.2", 7)
    store = RunStore(url, tmp_path / "a")
    store.upload("0.1")
    store.upload_work("0.2")

    RunStore(url, tmp_path / "b").fetch("0.2")
    assert is_done(tmp_path / "b", "0.1")
    assert (tmp_path / "b" / "0.1" / "vision_encoder.safetensors").read_text() == "0.1 vision_encoder.safetensors"
    folder = work_folder(tmp_path / "b", "0.2")
    [fetched] = saved_states(folder)
    assert {path.name: path.read_text() for path in fetched.iterdir()} == {
        path.name: path.read_text() for path in state.iterdir()
    }
    assert (folder / IDENTITY_FILE).exists() and json.loads((folder / "metrics.jsonl").read_text()) == {"step": 7}


def test_the_manifest_is_uploaded_last(tmp_path, url, monkeypatch):
    write_stage(tmp_path, "0.1", files=(MANIFEST, "a.safetensors", "z.safetensors"))
    store, uploaded = RunStore(url, tmp_path), []
    monkeypatch.setattr(store, "_put", lambda path: uploaded.append(path.name))
    store.upload("0.1")
    assert uploaded[-1] == MANIFEST and len(uploaded) == 3


def test_the_metadata_of_a_state_is_moved_last(tmp_path, url, monkeypatch):
    """A pod that ends meanwhile leaves a state that nobody reads, there and here."""
    write_state(tmp_path / "a", "0.2", 7)
    store, uploaded = RunStore(url, tmp_path / "a"), []
    put = store._put
    monkeypatch.setattr(store, "_put", lambda path: (uploaded.append(path.name), put(path)))
    store.upload_work("0.2")
    assert uploaded[-1] == METADATA and {"__0_0.distcp", "__1_0.distcp", IDENTITY_FILE} <= set(uploaded)

    there = RunStore(url, tmp_path / "b")
    get_file, fetched = there._files.get_file, []

    def get(path: str, target: str) -> None:
        fetched.append(Path(path).name)
        assert not saved_states(work_folder(tmp_path / "b", "0.2"))
        get_file(path, target)

    monkeypatch.setattr(type(there._files), "get_file", lambda files, path, target: get(path, target))
    there.fetch("0.2")
    assert fetched[-1] == METADATA and len(fetched) == len(uploaded)


def test_only_the_newest_whole_state_is_uploaded_and_older_ones_are_removed(tmp_path, url):
    store = RunStore(url, tmp_path)
    write_state(tmp_path, "0.2", 3)
    store.upload_work("0.2")
    write_state(tmp_path, "0.2", 6)
    write_state(tmp_path, "0.2", 9, whole=False)  # it is being written
    store.upload_work("0.2")
    states = {path for path in stored(url) if "step-" in path}
    names = ("__0_0.distcp", "__1_0.distcp", METADATA)
    assert states == {f"work/0.2/step-00000006/{name}" for name in names}


def test_an_older_state_is_there_until_the_newer_one_is_whole(tmp_path, url, monkeypatch):
    store = RunStore(url, tmp_path)
    write_state(tmp_path, "0.2", 3)
    store.upload_work("0.2")
    write_state(tmp_path, "0.2", 6)
    put = store._put

    def lose_the_network(path: Path) -> None:
        if path.name == METADATA:
            raise OSError("gone")
        put(path)

    monkeypatch.setattr(store, "_put", lose_the_network)
    with pytest.raises(OSError, match="gone"):
        store.upload_work("0.2")
    RunStore(url, tmp_path / "b").fetch("0.2")
    assert [state.name for state in saved_states(work_folder(tmp_path / "b", "0.2"))] == ["step-00000003"]


def test_a_folder_without_a_manifest_is_absent(tmp_path, url):
    write_stage(tmp_path / "a", "0.1", files=("vision_encoder.safetensors",))
    RunStore(url, tmp_path / "a").upload("0.1")
    store = RunStore(url, tmp_path / "b")
    store.fetch("0.2")
    assert not store.has("0.1") and not (tmp_path / "b" / "0.1").exists()


def test_states_are_uploaded_while_the_stage_is_trained(tmp_path, url, monkeypatch):
    monkeypatch.setattr(object_store, "POLL_SECONDS", 0.02)
    store = RunStore(url, tmp_path)
    with store.mirrored("0.1"):
        for step in (3, 6):
            write_state(tmp_path, "0.1", step)
            path = f"work/0.1/step-{step:08}/{METADATA}"
            for _ in range(500):
                if path in stored(url) and len([p for p in stored(url) if p.endswith(METADATA)]) == 1:
                    break
                time.sleep(0.02)
            assert path in stored(url)
        write_stage(tmp_path, "0.1")
    assert store.has("0.1")


def test_a_stage_that_is_stopped_leaves_its_last_state_there(tmp_path, url):
    """Also if it was saved since the last look."""
    store = RunStore(url, tmp_path)
    with pytest.raises(RuntimeError), store.mirrored("0.1"):
        write_state(tmp_path, "0.1", 5)
        raise RuntimeError
    assert f"work/0.1/step-00000005/{METADATA}" in stored(url) and not store.has("0.1")


def test_a_store_that_cannot_be_read_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match="nothing://bucket/run"):
        RunStore("nothing://bucket/run", tmp_path).fetch("0.1")
