"""The benchmark's manifests are read as what they say, in every format."""

from __future__ import annotations

import pytest

from benchmarks.speech_sources import FORMATS, measure, text_of
from training.data.sources.speech import open_speech


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_written_and_measured(tmp_path, name):
    path = FORMATS[name](tmp_path, 40)
    source = open_speech(path)
    assert len(source) == 40
    entry = source.entry(7)
    assert (entry.text, entry.id, entry.seconds) == (text_of(7), "utt-00000007", 3.25)
    found = measure(path)
    assert found["ready s"] > 0 and found["resident MB"] >= found["before MB"] > 1
