"""`parley data`: a newcomer writes the world as records, checks them, and sees what is wrong with bad ones."""

import json

from PIL import Image
from typer.testing import CliRunner

from cli.data import app
from parley.config import preset
from parley.media.video import read_video
from training.data.records import read_records


def test_the_world_as_records_checks_clean(tmp_path):
    out = tmp_path / "world"
    made = CliRunner().invoke(app, ["world", "--out", str(out), "--count", "2"])
    assert made.exit_code == 0, made.output
    assert "12 records, 12 good, 0 bad" in made.output
    assert Image.open(out / "sheet.png").size[0] > 96 * 8
    samples, _ = read_records(out / "records.jsonl")
    assert {sample.state for sample in samples} >= {"text", "nothing"}
    assert len(read_video(next(out.glob("*.mp4")), preset("nano").vision)) == 4
    assert CliRunner().invoke(app, ["check", str(out / "records.jsonl")]).exit_code == 0
    again = CliRunner().invoke(app, ["world", "--out", str(out)])
    assert isinstance(again.exception, ValueError) and "exists" in str(again.exception)


def test_bad_records_are_shown_and_fail(tmp_path):
    file = tmp_path / "records.json"
    file.write_text(json.dumps([{"id": str(index), "conversations": []} for index in range(5)]))
    found = CliRunner().invoke(app, ["check", str(file), "--show", "2"])
    assert found.exit_code == 1
    assert "5 records, 0 good, 5 bad" in found.output and "5 × no conversations" in found.output
    assert "… and 3 more" in found.output and "records.json[1]" in found.output
    assert "records.json[2]" not in found.output
