"""The benchmark of a training step runs at small size: its figures follow from the tokens and the time of a step."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.train_step import measure, table
from benchmarks.train_step_cases import CASES
from benchmarks.train_step_setting import Setting

MEASURED = ("products", "attention", "1.2", "lora", "2.1a", "3.2", "save")


@pytest.mark.parametrize("name", MEASURED)
def test_a_case_is_measured(name):
    found = measure(CASES[name], Setting.of("small"))
    assert 0 < found["p50_ms"] <= found["p95_ms"]
    if "tokens_per_second" in found:
        assert found["tokens_per_second"] * found["p50_ms"] / 1000 == pytest.approx(round_tokens(name), rel=0.1)


def round_tokens(name: str) -> int:
    setting = Setting.of("small")
    return {"2.1a": setting.frames // 4, "3.2": setting.codes}.get(name, setting.tokens)


def test_a_case_that_fails_is_told_and_the_others_go_on():
    rows = [{"case": "1.2", "error": "CUDA out of memory"}, {"case": "3.2", "what": "w", "p50_ms": 1.0, "p95_ms": 2.0}]
    assert "CUDA out of memory" in table(rows) and "3.2" in table(rows)


def test_help_names_the_cases():
    command = [sys.executable, "-m", "benchmarks.train_step", "--help"]
    assert "1.2-passes" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
