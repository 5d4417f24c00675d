"""Files of patterns, and a fingerprint of large files by samples."""

import pytest

from training.data.sources.shards import PIECE, PIECES, expanded, sampled, shards


def test_braces_are_expanded_in_order():
    assert expanded("a{08..10}-{x,y}.tar") == [f"a{n}-{x}.tar" for n in ("08", "09", "10") for x in "xy"]
    assert expanded("a.tar") == ["a.tar"]


@pytest.mark.parametrize("pattern", ["a-{0..999999999999}.tar", "{0..9999}-{0..9999}.tar"])
def test_a_pattern_of_too_many_files_is_refused(pattern):
    with pytest.raises(ValueError, match="more than 1,000,000 files; name a smaller range"):
        expanded(pattern)


def test_a_range_that_runs_backwards_is_refused(tmp_path):
    with pytest.raises(ValueError, match="stands for no file: the second number of a range is not below the first"):
        shards(tmp_path / "a-{5..3}.tar", ".tar")


def test_a_folder_is_read_to_its_depth_without_hidden_files(tmp_path):
    for name in ("b.tar", "a/c.tar", ".cache/d.tar", "a/.e.tar", "f.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [str(file.relative_to(tmp_path)) for file in shards(tmp_path, ".tar")] == ["a/c.tar", "b.tar"]
    assert [file.name for file in shards(tmp_path / "{b,a/c}.tar", ".tar")] == ["b.tar", "c.tar"]
    assert [file.name for file in shards(tmp_path / "**" / "*.tar", ".tar")] == ["c.tar", "b.tar"]


@pytest.mark.parametrize("size", [0, 1000, PIECE * PIECES, PIECE * PIECES * 3])
def test_the_fingerprint_is_of_both_ends_and_the_length(tmp_path, size):
    file, content = tmp_path / "a.bin", bytearray(range(256)) * (size // 256 + 1)
    prints = set()
    for change in (None, 0, size - 1):
        changed = bytearray(content[:size])
        if change is not None and size:
            changed[change] ^= 255
        file.write_bytes(changed)
        prints.add(sampled([file]))
    file.write_bytes(content[:size] + b"\0")
    prints.add(sampled([file]))
    assert len(prints) == (4 if size else 2)
    assert sampled([file]) == sampled([file]) != sampled([file, file])
