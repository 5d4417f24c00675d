"""Options of a stack whose checkpoint is no more than a manifest."""

import pytest

from services.local.supervisor import Options


@pytest.fixture
def options(tmp_path) -> Options:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "manifest.json").write_text("{}")
    return Options(str(tmp_path / ".parley"), str(checkpoint), port=1, http_port=2, embeddings_mb=100)
