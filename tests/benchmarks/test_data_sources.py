"""The benchmark of data sources writes files of each format that open."""

import pytest

from benchmarks.data_sources import FORMATS, measure


@pytest.mark.parametrize("format", ["JSON lines", "JSON list", "WebDataset"])
def test_a_format_is_written_and_measured(tmp_path, monkeypatch, format):
    monkeypatch.setenv("HF_DATASETS_CACHE", "")  # which `measure` sets
    name, write = FORMATS[format]
    write(tmp_path / name, 30)
    found = measure(tmp_path / name, tmp_path / "cache", reads=10)
    assert found["records"] == 30 and found["reads"] > 0 and found["open"] > found["mapped"] > 0
