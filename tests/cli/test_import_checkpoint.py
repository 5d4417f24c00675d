"""`parley import` and `parley init`: what they print, and with which status they end."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cli.main import main
from parley.checkpoints import Checkpoint

FIXTURE = Path(__file__).parents[1] / "fixtures" / "vita15-tiny"


@pytest.fixture
def parley(monkeypatch, capsys):
    """Runs the command line; returns (status, what it printed, what it complained)."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["parley", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return run


def test_import_checks_every_tensor_and_tells_the_licence(parley, tmp_path: Path) -> None:
    status, out, err = parley("import", FIXTURE, "--out", tmp_path / "vita", "--check")
    assert (status, err) == (0, "")
    assert "research only" in out and "there is no tokenizer" in out
    lines = [line.split() for line in out.splitlines() if line.endswith("  ok")]
    assert len(lines) == 22 and all(float(error) < 1e-3 for _, error, _ in lines)
    assert "all 22 tensors are reproduced" in out
    assert Checkpoint.open(tmp_path / "vita").manifest.licence.startswith("research only")


def test_a_tensor_beyond_the_tolerance_ends_with_status_1(parley, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FIXTURE, tmp_path / "vita15", copy_function=os.symlink))
    expected = load_file(folder / "expected.safetensors")
    expected["vision.adapter_out"] += 0.5
    (folder / "expected.safetensors").unlink()
    save_file(expected, folder / "expected.safetensors")
    status, out, err = parley("import", folder, "--out", tmp_path / "vita", "--check")
    assert status == 1
    assert "5.00e-01  WRONG" in out
    assert err == "parley: 1 of 22 tensors are not reproduced: vision.adapter_out\n"


def test_bad_folders_end_with_status_2_and_one_line(parley, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments in (
        ("import", tmp_path / "empty", "--out", tmp_path / "out"),
        ("import", tmp_path / "nowhere", "--out", tmp_path / "out"),
        ("import", tmp_path / "empty", "--out", tmp_path / "out", "--check"),
        ("init", "vita-7b", "--llm", tmp_path / "empty", "--vision", tmp_path / "empty", "--out", tmp_path / "out"),
        ("init", "vita-8b", "--llm", tmp_path / "empty", "--vision", tmp_path / "empty", "--out", tmp_path / "out"),
    ):
        status, out, err = parley(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("parley: ")
        assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_code_in_a_file_never_runs(parley, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FIXTURE, tmp_path / "vita15", copy_function=os.symlink))
    trace = tmp_path / "it-ran"

    class Code:
        def __reduce__(self):
            return os.mkdir, (str(trace),)

    (folder / "vita_tts_ckpt/codec/final.pt").unlink()
    torch.save({"encoder": Code()}, folder / "vita_tts_ckpt/codec/final.pt")
    status, _, err = parley("import", folder, "--out", tmp_path / "out")
    assert status == 2 and "it carries code" in err
    assert [path.name for path in tmp_path.iterdir()] == ["vita15"]
