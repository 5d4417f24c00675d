"""`parley data check`: what is wrong with bad records is shown."""

import json

from typer.testing import CliRunner

from cli.data import app


def test_bad_records_are_shown_and_fail(tmp_path):
    file = tmp_path / "records.json"
    file.write_text(json.dumps([{"id": str(index), "conversations": []} for index in range(5)]))
    found = CliRunner().invoke(app, ["check", str(file), "--show", "2"])
    assert found.exit_code == 1
    assert "5 records, 0 good, 5 bad" in found.output and "5 × no conversations" in found.output
    assert "… and 3 more" in found.output and "records.json[1]" in found.output
    assert "records.json[2]" not in found.output
