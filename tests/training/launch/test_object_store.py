"""A run in an object store, here one of fsspec in memory."""

import json
import time
import uuid

import fsspec
import pytest
from training.resume_file import RESUME_FILE

from parley.checkpoints.manifest import MANIFEST
from training.launch import object_store
from training.launch.object_store import RunStore
from training.run_folder import is_done, work_folder


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}/runs/tiny"


def write_stage(run, stage, files=("vision_encoder.safetensors", MANIFEST)):
    (run / stage).mkdir(parents=True)
    for name in files:
        (run / stage / name).write_text(f"{stage} {name}")


def write_work(run, stage, step):
    folder = work_folder(run, stage)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text(json.dumps({"step": step}))
    (folder / RESUME_FILE).write_text(f"step {step}")


def test_what_one_pod_uploads_another_one_fetches(tmp_path, url):
    write_stage(tmp_path / "a", "0.1")
    write_work(tmp_path / "a", "0.2", 7)
    store = RunStore(url, tmp_path / "a")
    store.upload("0.1")
    store.upload_work("0.2")

    RunStore(url, tmp_path / "b").fetch("0.2")
    assert is_done(tmp_path / "b", "0.1")
    assert (tmp_path / "b" / "0.1" / "vision_encoder.safetensors").read_text() == "0.1 vision_encoder.safetensors"
    assert (work_folder(tmp_path / "b", "0.2") / RESUME_FILE).read_text() == "step 7"


def test_the_manifest_is_uploaded_last(tmp_path, url, monkeypatch):
    write_stage(tmp_path, "0.1", files=(MANIFEST, "a.safetensors", "z.safetensors"))
    store, uploaded = RunStore(url, tmp_path), []
    monkeypatch.setattr(store, "_put", lambda path: uploaded.append(path.name))
    store.upload("0.1")
    assert uploaded[-1] == MANIFEST and len(uploaded) == 3


def test_a_folder_without_a_manifest_is_absent(tmp_path, url):
    write_stage(tmp_path / "a", "0.1", files=("vision_encoder.safetensors",))
    RunStore(url, tmp_path / "a").upload("0.1")
    store = RunStore(url, tmp_path / "b")
    store.fetch("0.2")
    assert not store.has("0.1") and not (tmp_path / "b" / "0.1").exists()


def test_a_resume_file_is_uploaded_while_the_stage_is_trained(tmp_path, url, monkeypatch):
    monkeypatch.setattr(object_store, "POLL_SECONDS", 0.02)
    files = fsspec.filesystem("memory")
    store = RunStore(url, tmp_path)
    with store.mirrored("0.1"):
        write_work(tmp_path, "0.1", 3)
        path = f"{url.removeprefix('memory:/')}/work/0.1/{RESUME_FILE}"
        for _ in range(500):
            if files.exists(path):
                break
            time.sleep(0.02)
        assert files.cat_file(path) == b"step 3"
        write_stage(tmp_path, "0.1")
    assert store.has("0.1")


def test_a_store_that_cannot_be_read_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match="nothing://bucket/run"):
        RunStore("nothing://bucket/run", tmp_path).fetch("0.1")
