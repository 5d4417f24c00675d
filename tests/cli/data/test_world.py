"""`parley data world`: a newcomer writes the world as records, which check clean."""

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
    assert "20 records, 20 good, 0 bad" in made.output
    width, height = Image.open(out / "sheet.png").size
    assert width > 96 * 8 and height > 2 * 2 * 96  # a row of pictures and one of two videos
    samples, _ = read_records(out / "records.jsonl")
    assert {sample.state for sample in samples} >= {"text", "nothing"}
    assert len(read_video(next(out.glob("*.mp4")), preset("nano").vision)) == 4
    assert CliRunner().invoke(app, ["check", str(out / "records.jsonl")]).exit_code == 0
    again = CliRunner().invoke(app, ["world", "--out", str(out)])
    assert isinstance(again.exception, ValueError) and "exists" in str(again.exception)
