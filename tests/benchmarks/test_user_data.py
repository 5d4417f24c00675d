"""The benchmark of a user's data opens records and finds samples."""

from benchmarks.data_sources import write_lines
from benchmarks.user_data import measure
from training.data import heldout


def test_it_is_ready_and_finds_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(heldout, "CHECKED", 10)  # its pictures are not there, and are not looked for in large files
    write_lines(tmp_path / "captions.jsonl", 60)
    data, row = measure("first", tmp_path / "captions.jsonl", tmp_path / "work", before=0.0)
    assert row["records"] == 60 and len(data.epochs) == len(data.learned[0].split.learned) < 60
    assert row["ready"] > 0 and row["own"] > 0
