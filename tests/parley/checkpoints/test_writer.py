"""Writing checkpoints: what carries over, export, and that a reader never sees half of one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from parley.checkpoints import Checkpoint, export, save_stage
from parley.checkpoints.writer import StageWriter


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
    manifest = Checkpoint.open(run / "alone").manifest
    assert manifest.parent is None and manifest.lineage == ["1.1", "1.2"]
    assert manifest.parts["state_head"].stage == "1.1" and manifest.metrics == {"loss": 0.5}
    assert Checkpoint.open(run / "alone").state_dict("state_head")["w"].dtype == torch.float16
    assert Checkpoint.open(run / "alone").state_dict("state_head", dtype=torch.float32)["w"].tolist() == [0, 1, 2, 3]
    assert Checkpoint.open(run / "alone").tokenizer().get_vocab_size() > 0


def test_shards_carry_over_and_can_be_exported(run: Path, tiny_config) -> None:
    state = {name: torch.full((8,), float(i)) for i, name in enumerate("abc")}
    save_stage(run / "big", stage="big", config=tiny_config, parts={"language": state}, max_shard_bytes=32)
    save_stage(run / "next", stage="next", config=tiny_config, parts={}, parent=run / "big")
    export(run / "next", run / "alone", dtype=None)
    for name in ("next", "alone"):
        read = Checkpoint.open(run / name).state_dict("language")
        assert {key: tensor.tolist() for key, tensor in read.items()} == {k: t.tolist() for k, t in state.items()}
    assert [file.file for file in Checkpoint.open(run / "next").manifest.parts["language"].files] == [
        f"../big/language-0000{i}-of-00003.safetensors" for i in (1, 2, 3)
    ]
    assert (run / "alone" / "language.safetensors").exists()


def test_half_precision_keeps_what_it_cannot_hold(tmp_path: Path, tiny_config) -> None:
    state = {"huge": torch.tensor([1e9]), "small": torch.tensor([0.5]), "count": torch.tensor(3)}
    save_stage(tmp_path / "s", stage="s", config=tiny_config, parts={"state_head": state}, dtype=torch.float16)
    read = Checkpoint.open(tmp_path / "s").state_dict("state_head")
    assert {name: tensor.dtype for name, tensor in read.items()} == {
        "huge": torch.float32, "small": torch.float16, "count": torch.int64,
    }  # fmt: skip


def test_an_error_while_writing_leaves_the_old_one(run: Path, tiny_config) -> None:
    before = sorted(run.iterdir())
    with pytest.raises(RuntimeError), StageWriter(run / "1.1") as writer:
        writer.add_part("state_head", "1.1", {"w": torch.zeros(9)})
        raise RuntimeError("the disk is full")
    assert sorted(run.iterdir()) == before
    assert Checkpoint.open(run / "1.1").state_dict("state_head")["w"].shape == (4,)


def test_a_killed_writer_leaves_the_old_one_and_its_rest_goes_with_the_next(run: Path, tiny_config) -> None:
    code = (
        "import sys, time, torch; from parley.checkpoints.writer import StageWriter\n"
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
        "import sys, torch; from parley.checkpoints import Checkpoint, save_stage\n"
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


def test_a_parent_that_is_replaced_after_it_was_opened_is_still_the_one_that_was_read(run: Path, tiny_config) -> None:
    """A stage reads its parent, trains for hours, and only then writes what it inherits."""
    opened = Checkpoint.open(run / "1.2")
    inherited = opened.manifest.parts["state_head"].sha256
    other = {"state_head": {"w": torch.full((1,), 9.0)}}
    save_stage(run / "1.2", stage="1.2", config=tiny_config, parts=other)
    save_stage(run / "next", stage="next", config=tiny_config, parts={}, parent=opened)
    assert Checkpoint.open(run / "next").manifest.parts["state_head"].sha256 == inherited
    assert Checkpoint.open(run / "1.2").manifest.parts["state_head"].sha256 != inherited
