"""One stack for all random messages."""

from __future__ import annotations

import pytest

from benchmarks.fuzz_stack import Stack


@pytest.fixture(scope="session")
def stack(tiny_checkpoint):
    stack = Stack(tiny_checkpoint)
    yield stack
    stack.close()
