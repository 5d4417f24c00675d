"""Checkpoints: lineage, hashes, atomic writing, what is refused and how."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from parley.checkpoints import Checkpoint, CheckpointError, export, save_stage
from parley.checkpoints.checkpoint import check_fit
from parley.checkpoints.tensor_file import TensorWriter
from parley.checkpoints.writer import StageWriter


@pytest.fixture
def run(tmp_path: Path, tiny_config, tiny_tokenizer) -> Path:
    """Two stages: 1.1 wrote two parts and the tokenizer, 1.2 one of them again."""
    parts = {"vision_adapter": {"w": torch.ones(2, 3)}, "state_head": {"w": torch.arange(4.0)}}
    save_stage(tmp_path / "1.1", stage="1.1", config=tiny_config, parts=parts, tokenizer=tiny_tokenizer, commit="abc")
    save_stage(
        tmp_path / "1.2", stage="1.2", config=tiny_config, parent=tmp_path / "1.1",
        parts={"vision_adapter": {"w": torch.full((2, 3), 2.0)}},
        data={"captions": {"share": 1.0, "count": 7}}, metrics={"loss": 0.5},
    )  # fmt: skip
    return tmp_path


def test_a_stage_holds_its_own_parts_and_refers_to_the_rest(run: Path, tiny_config) -> None:
    manifest = Checkpoint.open(run / "1.2")
    assert manifest.parts["vision_adapter"].file == "vision_adapter.safetensors"
    assert manifest.parts["state_head"].file == "../1.1/state_head.safetensors"
    assert (manifest.parts["state_head"].stage, manifest.stage, manifest.parent) == ("1.1", "1.2", "../1.1")
    assert manifest.lineage == ["1.1", "1.2"]
    assert manifest.config == tiny_config
    assert manifest.data["captions"]["count"] == 7 and manifest.metrics == {"loss": 0.5}
    assert Checkpoint.open(run / "1.2").state_dict("vision_adapter")["w"].tolist() == [[2.0] * 3] * 2
    assert Checkpoint.open(run / "1.2").state_dict("state_head")["w"].tolist() == [0, 1, 2, 3]
    assert Checkpoint.open(run / "1.2").tokenizer().get_vocab_size() == tiny_config.language.vocab_size


def test_a_run_can_be_moved_as_a_whole(run: Path) -> None:
    shutil.move(run, run.with_name("elsewhere"))
    assert Checkpoint.open(run.with_name("elsewhere") / "1.2").state_dict("state_head")["w"].shape == (4,)


def test_terms_of_every_source_carry_over(run: Path, tiny_config) -> None:
    """Research-only weights stay so, whichever of a stage's sources they come from."""
    head = {"state_head": {"w": torch.ones(1)}}
    save_stage(run / "foreign", stage="foreign", config=tiny_config, parts=head, licence="research only")
    save_stage(run / "a", stage="a", config=tiny_config, parts={}, parent=run / "1.2", others=[run / "foreign"])
    save_stage(run / "b", stage="b", config=tiny_config, parts={}, parent=run / "foreign", others=[run / "1.2"])
    assert [Checkpoint.open(run / name).manifest.licence for name in ("1.2", "a", "b")] == [
        "",
        "research only",
        "research only",
    ]


def test_export_stands_alone_in_half_precision(run: Path) -> None:
    export(run / "1.2", run / "alone")
    shutil.rmtree(run / "1.1")
    shutil.rmtree(run / "1.2")
    manifest = Checkpoint.open(run / "alone")
    assert manifest.parent is None and manifest.lineage == ["1.1", "1.2"]
    assert manifest.parts["state_head"].stage == "1.1" and manifest.metrics == {"loss": 0.5}
    assert Checkpoint.open(run / "alone").state_dict("state_head")["w"].dtype == torch.float16
    assert Checkpoint.open(run / "alone").state_dict("state_head", dtype=torch.float32)["w"].tolist() == [0, 1, 2, 3]
    assert Checkpoint.open(run / "alone").tokenizer().get_vocab_size() > 0


def test_half_precision_keeps_what_it_cannot_hold(tmp_path: Path, tiny_config) -> None:
    state = {"huge": torch.tensor([1e9]), "small": torch.tensor([0.5]), "count": torch.tensor(3)}
    save_stage(tmp_path / "s", stage="s", config=tiny_config, parts={"state_head": state}, dtype=torch.float16)
    read = Checkpoint.open(tmp_path / "s").state_dict("state_head")
    assert {name: tensor.dtype for name, tensor in read.items()} == {
        "huge": torch.float32, "small": torch.float16, "count": torch.int64,
    }  # fmt: skip


def test_one_tensor_alone(run: Path) -> None:
    assert Checkpoint.open(run / "1.2").tensor("state_head", "w")[3] == 3
    with pytest.raises(CheckpointError, match="cannot read nothing"):
        Checkpoint.open(run / "1.2").tensor("state_head", "nothing")


def damage(run: Path, how: str) -> None:
    file = run / "1.1" / "state_head.safetensors"
    if how == "a bit":
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    elif how == "shorter":
        file.write_bytes(file.read_bytes()[:-3])
    elif how == "gone":
        file.unlink()
    elif how == "outside":
        manifest = json.loads((run / "1.2" / "manifest.json").read_text())
        manifest["parts"]["state_head"]["file"] = "/etc/passwd"
        (run / "1.2" / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("a bit", "has not the hash in the manifest"),
        ("shorter", r"has \d+ bytes, not \d+"),
        ("gone", "of stage 1.1: No such file"),
        ("outside", "is not relative"),
    ],
)
def test_damage_is_found_before_use(run: Path, how: str, error: str) -> None:
    damage(run, how)
    with pytest.raises(CheckpointError, match=f"^state_head: .*{error}") as caught:
        Checkpoint.open(run / "1.2").state_dict("state_head")
    assert "\n" not in str(caught.value)
    assert Checkpoint.open(run / "1.2").state_dict("vision_adapter")["w"].shape == (
        2,
        3,
    )  # the others can still be read


def test_a_missing_part_is_named(run: Path) -> None:
    with pytest.raises(CheckpointError, match="has no language; it has: vision_adapter, state_head"):
        Checkpoint.open(run / "1.2").state_dict("language")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", "is not a manifest"),
        ('{"stage": "x"}', "is not a manifest: config"),
        ('{"format": 9}', "is not a manifest|format 9"),
        (b"\xff\xfe", "is not text"),
    ],
)
def test_a_broken_manifest_is_refused(tmp_path: Path, text: str | bytes, error: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError, match=error) as caught:
        Checkpoint.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_other_formats_and_parts_are_refused(run: Path) -> None:
    file = run / "1.1" / "manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps(manifest | {"format": 9}))
    with pytest.raises(CheckpointError, match="format 9; this program reads format 1"):
        Checkpoint.open(run / "1.1")
    manifest["parts"]["soul"] = manifest["parts"]["state_head"]
    file.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="unknown parts: soul"):
        Checkpoint.open(run / "1.1")


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        Checkpoint.open(tmp_path)


def test_all_that_does_not_fit_is_named_at_once() -> None:
    with pytest.raises(CheckpointError) as caught:
        check_fit("language", {"a": (1,), "b": (2,), "c": (3, 4)}, {"b": (2,), "c": (4, 3), "d": (1,), "e": (1,)})
    assert str(caught.value) == (
        "language does not fit the config: missing a; unexpected d; unexpected e; c is [4, 3], not [3, 4]"
    )


def test_an_error_while_writing_leaves_the_old_one(run: Path, tiny_config) -> None:
    before = sorted(run.iterdir())
    with pytest.raises(RuntimeError), StageWriter(run / "1.1") as writer:
        writer.add_part("state_head", "1.1", {"w": torch.zeros(9)})
        raise RuntimeError("the disk is full")
    assert sorted(run.iterdir()) == before
    assert Checkpoint.open(run / "1.1").state_dict("state_head")["w"].shape == (4,)


def test_a_killed_writer_leaves_the_old_one_and_its_rest_goes_with_the_next(run: Path, tiny_config) -> None:
    code = (
        "import sys, time, torch; from parley.checkpoints.checkpoint import StageWriter\n"
        f"with StageWriter({str(run / '1.1')!r}) as w:\n"
        "    w.add_part('state_head', '1.1', {'w': torch.zeros(9)}); print('half', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "half\n"
        os.kill(writer.pid, signal.SIGKILL)
    assert len(list(run.glob(".1.1.*.tmp"))) == 1
    assert Checkpoint.open(run / "1.1").state_dict("state_head")["w"].shape == (4,)
    save_stage(run / "1.1", stage="1.1", config=tiny_config, parts={"state_head": {"w": torch.zeros(9)}})
    assert Checkpoint.open(run / "1.1").state_dict("state_head")["w"].shape == (9,)
    assert not list(run.glob(".*"))


def test_readers_always_find_a_whole_checkpoint_while_it_is_replaced(run: Path, tiny_config) -> None:
    code = (
        "import sys, torch; from parley.checkpoints.checkpoint import save_stage, read_manifest\n"
        "path = sys.argv[1]; config = Checkpoint.open(path).config\n"
        "for i in range(30):\n"
        "    save_stage(path, stage='x', config=config, parts={'state_head': {'w': torch.zeros(9)}})"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(run / "1.1")]) as writer:
        while writer.poll() is None:
            Checkpoint.open(run / "1.1")
            time.sleep(0.001)
    assert writer.returncode == 0


def test_a_stage_cannot_be_its_own_parent(run: Path) -> None:
    with pytest.raises(ValueError, match="its own parent"):
        StageWriter(run / "1.1", parent=run / "1.1")


def test_the_writer_makes_what_the_library_reads(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(3, 5).half(),
        "turned": torch.randn(4, 6).T,
        "number": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
        "brain": torch.randn(5).bfloat16(),
    }
    writer = TensorWriter(tmp_path / "t.safetensors", {n: (t.dtype, tuple(t.shape)) for n, t in tensors.items()})
    for name in reversed(tensors):
        writer.write(name, tensors[name])
    writer.close()
    read = load_file(tmp_path / "t.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) and read[name].dtype == tensors[name].dtype for name in tensors)
