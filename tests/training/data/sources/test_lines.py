"""Lines of a file by index: the same for a plain and a gzip file, whatever their line ends."""

from __future__ import annotations

import gzip
import os
import pickle
import random
from pathlib import Path

import pytest

from training.data.sources import lines as module
from training.data.sources.lines import Lines


def written(folder: Path, content: bytes, packed: bool) -> Path:
    path = folder / ("lines.txt.gz" if packed else "lines.txt")
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_lines_are_those_of_the_file(tmp_path, monkeypatch, packed, end):
    monkeypatch.setattr(module, "CHUNK", 64)
    monkeypatch.setattr(module, "BLOCK", 64)
    rng = random.Random(0)
    expected = ["é中x"[i % 3] * rng.randint(1, 200) for i in range(300)]
    lines = Lines(written(tmp_path, "\n".join(expected).encode() + end, packed))
    assert len(lines) == 300 and [line.decode() for line in lines] == expected
    for index in rng.sample(range(300), 50):
        assert lines[index].decode() == expected[index]


@pytest.mark.parametrize("packed", [False, True])
def test_blank_lines_count_for_numbers_only(tmp_path, packed):
    lines = Lines(written(tmp_path, b"\xef\xbb\xbffirst\r\n\r\n  \n\nfifth\n\n", packed))
    assert list(lines) == [b"first", b"fifth"]
    assert [lines.number(0), lines.number(1)] == [1, 5]
    assert lines.where(1).endswith(":5")
    with pytest.raises(IndexError, match="2 lines"):
        lines[2]


def test_no_lines_at_all(tmp_path):
    assert len(Lines(written(tmp_path, b"", False))) == 0
    assert len(Lines(written(tmp_path, b"\n\n", False))) == 0
    with pytest.raises(ValueError, match="no such file"):
        Lines(tmp_path / "none")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(os.urandom(5000))[:-100])
    with pytest.raises(ValueError, match="not a whole gzip file"):
        Lines(tmp_path / "cut.gz")


def test_the_fingerprint_is_of_the_content(tmp_path):
    plain = Lines(written(tmp_path, b"a\nb\n", False)).fingerprint
    assert plain == Lines(written(tmp_path, b"a\nb\n", True)).fingerprint
    assert plain != Lines(written(tmp_path, b"a\nc\n", False)).fingerprint


@pytest.mark.parametrize("packed", [False, True])
def test_other_processes_read_the_same(tmp_path, packed):
    lines = Lines(written(tmp_path, b"".join(b"line %d\n" % i for i in range(5000)), packed))
    assert lines[7] == b"line 7"
    assert pickle.loads(pickle.dumps(lines))[4999] == b"line 4999"
    child = os.fork()
    if child == 0:
        os._exit(0 if all(lines[i] == b"line %d" % i for i in range(0, 5000, 7)) else 1)
    assert all(lines[i] == b"line %d" % i for i in range(4999, 0, -7))
    assert os.waitpid(child, 0)[1] == 0
