"""The byte index of JSON files against the parser of the standard library, blocks of every small size."""

import json
import random

import pytest

from training.data.sources import json_index
from training.data.sources.json_index import index_json

PIECES = ['"', "\\", "{", "}", "[", "]", ",", "\n", "é", "日", "a", ":", " "]
BLOCKS = (1, 2, 3, 7, 64, json_index.BLOCK)


def value(source: random.Random, depth: int = 0):
    kind = source.randrange(5 if depth < 3 else 2)
    if kind == 0:
        return source.choice([None, True, 12, -1.5e3])
    if kind < 3:
        return "".join(source.choices(PIECES, k=source.randrange(9)))
    if kind == 3:
        return [value(source, depth + 1) for _ in range(source.randrange(4))]
    return {f'{key}\\"{{': value(source, depth + 1) for key in range(source.randrange(4))}


def read(path, index) -> list:
    data = path.read_bytes()
    return [json.loads(data[index.bounds[i] + 1 : index.bounds[i + 1]]) for i in range(len(index))]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_list_is_cut_into_its_elements(tmp_path, monkeypatch, block):
    monkeypatch.setattr(json_index, "BLOCK", block)
    file, source = tmp_path / "records.json", random.Random(block)
    for indent in (None, 1):
        records = [value(source) for _ in range(30)]
        file.write_text(json.dumps(records, ensure_ascii=indent is None, indent=indent) + "\n \n")
        assert read(file, index_json(file)) == records


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_are_found_and_counted_as_an_editor_counts_them(tmp_path, monkeypatch, block, newline):
    monkeypatch.setattr(json_index, "BLOCK", block)
    file, source = tmp_path / "records.jsonl", random.Random(block)
    lines = ["", "5", *(source.choice(["", "  ", "\t", json.dumps(value(source))]) for _ in range(60)), '"last"']
    file.write_bytes(newline.join(lines).encode())
    index = index_json(file)
    kept = [(number, json.loads(line)) for number, line in enumerate(lines, 1) if line.strip()]
    assert read(file, index) == [record for _, record in kept]
    assert [index.line(i) for i in range(len(index))] == [number for number, _ in kept]


@pytest.mark.parametrize("text", ["[]", " [ \n ]\n", "", " \n\n", "\ufeff", "\ufeff[]"])
def test_a_file_without_records_is_refused(tmp_path, text):
    file = tmp_path / "records.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"records\.json (is empty|has no records)"):
        index_json(file)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'[{"a": 1}, {"b": [2}, {"c": 3}]', "record 1, from byte 10, is the last that begins"),
        (b'[{"a": 1}, {"b": "x}]', "record 1, from byte 10,"),
        (b'[{"a": 1}, {"b"', "record 1, from byte 10,"),
        (b'[{"a": 1}}, {"b": 2}]', "ends at byte 10, but text follows"),
        (b'[{"a": 1}]\n[{"b": 2}]', "ends at byte 10, but text follows"),
        (b'{\n "data": [\n]\n}', "one JSON object over several lines"),
        (b"\x1f\x8b\x08", "is gzip"),
        ('[{"a": 1}]'.encode("utf-16"), "is UTF-16"),
    ],
)
def test_what_has_no_records_to_find_is_refused(tmp_path, data, expected):
    file = tmp_path / "records.json"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=expected):
        index_json(file)


def test_the_fingerprint_is_of_all_content(tmp_path):
    file, prints = tmp_path / "records.jsonl", set()
    for text in ("1\n2\n", "1\n3\n", "1\n2\n\n", "[1,2]", "[1,3]", "[1,2] "):
        file.write_text(text)
        prints.add(index_json(file).fingerprint)
    assert len(prints) == 6
