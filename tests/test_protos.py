"""The stubs in the repository are those of the contracts."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_stubs_are_generated_from_the_contracts(tmp_path):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run([ROOT / "protos/generate.sh", tmp_path], check=True, env=environment)
    fresh = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*_pb2*"))
    assert len(fresh) == 3 * len(list((ROOT / "protos/parley/v1").glob("*.proto")))
    for path in fresh:
        assert (ROOT / path).read_text() == (tmp_path / path).read_text(), f"{path} is stale: make protos"
