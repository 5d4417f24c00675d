"""`parley plan`: what it prints, and what it refuses."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from cli.main import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plan(monkeypatch, capsys):
    """Runs `parley plan`; returns (status, what it printed, what it complained)."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["parley", "plan", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return run


def test_every_stage_has_a_line(plan) -> None:
    status, out, err = plan("vita-7b", "--gpus", 8)
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert [words[0] for words in lines[-8:]] == ["1.1", "1.2", "1.3", "2.1a", "2.1b", "2.2", "3.1", "3.2"]
    assert "language         7,615.62 M" in out and "8 × 80 GB, 40% of 989 TFLOP/s" in out


def test_a_stage_that_does_not_fit_ends_with_status_1(plan) -> None:
    status, out, err = plan("vita-7b", "--gpu-memory", 24, "--stage", "2.2")
    assert status == 1 and "TOO LARGE" in out
    assert err.startswith("parley: stage 2.2 needs") and "would fit: " in err and err.count("\n") == 1
    assert plan("vita-small", "--gpu-memory", 24, "--tokens", 2048, "--sequence-length", 2048)[0] == 0


def test_a_checkpoint_is_planned_by_its_own_sizes(plan, tiny_checkpoint: Path) -> None:
    status, out, _ = plan(tiny_checkpoint, "--gpu-memory", 4)
    assert status == 0 and out.startswith("tiny: 0.")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("vita-8b",), "no preset 'vita-8b'; there are: nano, vita-small, vita-7b"),
        (("nano",), "nano trains on two CPU cores"),
        ((ROOT / "checkpoints" / "nano",), "nano trains on two CPU cores"),
        (("vita-7b", "--stage", "0.1"), "stage 0.1 belongs to nano only"),
        (("vita-7b", "--stage", "9"), "no stage '9'"),
        (("vita-7b", "--stage", "1.1", "--lora"), "LoRA is for the language model, which stage 1.1"),
        (("vita-7b", "--tokens-per-second", "5000"), "name it with --stage"),
    ],
)
def test_mistakes_are_one_line(plan, arguments: tuple, complaint: str) -> None:
    status, out, err = plan(*arguments)
    assert (status, out) == (2, "") and complaint in err and err.count("\n") == 1


def test_the_page_shows_what_is_printed(plan) -> None:
    page = (ROOT / "docs" / "planning.md").read_text()
    shown = re.findall(r"```\n\$ parley plan (.*)\n((?:.|\n)*?)```", page)
    assert len(shown) == 4
    for command, output in shown:
        _, out, err = plan(*command.split())
        assert out + err == output, command
