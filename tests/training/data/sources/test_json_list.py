"""The elements of a JSON list against the parser of the standard library, with blocks of every small size."""

import json
import random

import pytest

from training.data.sources import lines
from training.data.sources.json_list import JsonList

PIECES = ['"', "\\", "{", "}", "[", "]", ",", "\n", "é", "日", "a", ":", " "]
BLOCKS = (1, 2, 3, 7, 64, lines.CHUNK)


def value(source: random.Random, depth: int = 0):
    kind = source.randrange(5 if depth < 3 else 2)
    if kind == 0:
        return source.choice([None, True, 12, -1.5e3])
    if kind < 3:
        return "".join(source.choices(PIECES, k=source.randrange(9)))
    if kind == 3:
        return [value(source, depth + 1) for _ in range(source.randrange(4))]
    return {f'{key}\\"{{': value(source, depth + 1) for key in range(source.randrange(4))}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_list_is_cut_into_its_elements(tmp_path, monkeypatch, block):
    monkeypatch.setattr(lines, "CHUNK", block)
    file, source = tmp_path / "records.json", random.Random(block)
    for indent in (None, 1):
        records = [value(source) for _ in range(30)]
        file.write_text(json.dumps(records, ensure_ascii=indent is None, indent=indent) + "\n \n")
        assert [json.loads(text) for text in JsonList(file)] == records


@pytest.mark.parametrize("text", ["[]", " [ \n ]\n", "\ufeff[]"])
def test_an_empty_list_has_no_elements(tmp_path, text):
    file = tmp_path / "records.json"
    file.write_text(text, encoding="utf-8")
    assert len(JsonList(file)) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"a": 1}, {"b": [2}, {"c": 3}]', "Its last record, 1, begins at byte 10: is the file cut short"),
        ('[{"a": 1}, {"b": "x}]', "record, 1, begins at byte 10"),
        ('[{"a": 1}, {"b"', "record, 1, begins at byte 10"),
        ('[{"a": "\\', "record, 0, begins at byte 1:"),
        ('[{"a": 1}}, {"b": 2}]', "at byte 10, text follows"),
        ('[{"a": 1}]\n[{"b": 2}]', "at byte 11, text follows"),
    ],
)
@pytest.mark.parametrize("block", BLOCKS)
def test_a_list_whose_brackets_do_not_match_is_refused(tmp_path, monkeypatch, text, expected, block):
    monkeypatch.setattr(lines, "CHUNK", block)
    file = tmp_path / "records.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=expected):
        JsonList(file)


def test_the_fingerprint_is_of_all_content(tmp_path):
    file, prints = tmp_path / "records.json", set()
    for text in ("[1,2]", "[1,3]", "[1,2] ", "[ 1,2]"):
        file.write_text(text)
        prints.add(JsonList(file).fingerprint)
    assert len(prints) == 4
