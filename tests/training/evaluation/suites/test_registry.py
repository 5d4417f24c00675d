"""The suites, and the page that describes them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from training.evaluation.suites.registry import SUITES

PAGE = (Path(__file__).parents[4] / "docs/evaluation.md").read_text()


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_can_be_measured_with_and_is_described(name: str):
    suite = SUITES[name]
    assert callable(getattr(importlib.import_module(f"training.evaluation.suites.{suite.module}"), suite.function))
    assert f"| `{name}` |" in PAGE and f"--suite {name} --data" in PAGE
