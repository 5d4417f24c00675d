"""Checkpoints: what one reading gives, and what is refused and how."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from parley.checkpoints import Checkpoint, CheckpointError, export, save_stage
from parley.checkpoints.checkpoint import check_fit


def test_a_stage_holds_its_own_parts_and_refers_to_the_rest(run: Path, tiny_config) -> None:
    manifest = Checkpoint.open(run / "1.2").manifest
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


def test_the_fingerprint_names_the_weights_wherever_they_lie(run: Path) -> None:
    checkpoint = Checkpoint.open(run / "1.2")
    assert checkpoint.fingerprint == hashlib.sha256((run / "1.2" / "manifest.json").read_bytes()).hexdigest()[:16]
    shutil.copytree(run, run.with_name("copy"))
    assert Checkpoint.open(run.with_name("copy") / "1.2").fingerprint == checkpoint.fingerprint
    assert Checkpoint.open(run / "1.1").fingerprint != checkpoint.fingerprint


def test_a_checkpoint_without_tokenizer_has_none(tmp_path: Path, tiny_config) -> None:
    save_stage(tmp_path / "s", stage="s", config=tiny_config, parts={})
    assert Checkpoint.open(tmp_path / "s").tokenizer() is None


def test_one_tensor_alone(run: Path) -> None:
    assert Checkpoint.open(run / "1.2").tensor("state_head", "w")[3] == 3
    with pytest.raises(CheckpointError, match="cannot read nothing"):
        Checkpoint.open(run / "1.2").tensor("state_head", "nothing")


def test_a_part_in_shards_reads_like_one_in_a_single_file(tmp_path: Path, tiny_config) -> None:
    state = {name: torch.randn(10, 10) for name in "abcde"}  # 400 bytes each
    save_stage(tmp_path / "s", stage="s", config=tiny_config, parts={"state_head": state}, max_shard_bytes=900)
    names = [f"state_head-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    assert sorted(file.name for file in (tmp_path / "s").iterdir()) == ["manifest.json", *names]
    checkpoint = Checkpoint.open(tmp_path / "s")
    read = checkpoint.state_dict("state_head")
    assert read.keys() == state.keys() and all(torch.equal(read[name], state[name]) for name in state)
    (tmp_path / "s" / names[0]).unlink()
    assert torch.equal(checkpoint.tensor("state_head", "e"), state["e"])  # only its own file is read
    with pytest.raises(CheckpointError, match="state_head: cannot read nothing: none of its files has it"):
        checkpoint.tensor("state_head", "nothing")
    with pytest.raises(CheckpointError, match=f"^state_head: .*{names[0]}"):
        checkpoint.state_dict("state_head")


def test_tensors_of_a_replaced_folder_are_refused(run: Path, tiny_config) -> None:
    checkpoint = Checkpoint.open(run / "1.1")
    save_stage(run / "1.1", stage="1.1", config=tiny_config, parts={"state_head": {"w": torch.zeros(4)}})
    for read in (lambda: checkpoint.state_dict("state_head"), checkpoint.tokenizer):
        with pytest.raises(CheckpointError, match=r"1\.1 was replaced while it was read; open it again$"):
            read()
    assert Checkpoint.open(run / "1.1").tensor("state_head", "w").tolist() == [0] * 4


def test_tensors_stay_when_their_folder_is_gone(run: Path) -> None:
    export(run / "1.2", run / "alone")
    state = Checkpoint.open(run / "alone").state_dict("state_head")
    shutil.rmtree(run / "alone")
    assert state["w"].tolist() == [0, 1, 2, 3]


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
        ("a bit", "does not have the hash in the manifest"),
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
