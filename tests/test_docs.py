"""What the documentation names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`(tests/[\w/.]+\.py)::(\w+)`")
TESTS = NAMED.findall((ROOT / "docs" / "security.md").read_text())


@pytest.mark.parametrize(("file", "name"), TESTS, ids=[name for _, name in TESTS])
def test_each_test_that_the_security_page_names_exists(file, name):
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_each_claim_of_the_security_page_names_a_test():
    page = (ROOT / "docs" / "security.md").read_text()
    claims = page.partition("## Claims")[2].partition("\n## ")[0]
    rows = [line for line in claims.splitlines() if line.startswith("| ") and not line.startswith("| claim")]
    assert len(rows) > 20 and all(NAMED.search(row) for row in rows)
