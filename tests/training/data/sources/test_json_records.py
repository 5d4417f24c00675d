"""Dialogues in JSON files: every record by its number, and a bad one harms no other."""

import gzip
import json
import pickle

import pytest

from training.data.record_error import RecordError
from training.data.sources.dialogues import open_dialogues

GOOD = {"id": "cat", "image": "./a.jpg", "conversations": [{"from": "human", "value": '<image>\nwhat {is\\ "this"?}'}]}
GOOD["conversations"].append({"from": "gpt", "value": "a [cat],"})
CHAT = {
    "id": 7,
    "messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "b.jpg"}}]},
        {"role": "assistant", "content": "a dog."},
    ],
}
WIDE = GOOD | {f"field {i}": [i, {"x": None}] for i in range(19)}  # 22 fields


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"media")
    return tmp_path


def write_list(folder, records):
    (folder / "records.json").write_text(json.dumps(records))
    return folder / "records.json"


def write_lines(folder, lines: list[str], newline: str = "\n", head: str = ""):
    (folder / "records.jsonl").write_bytes((head + newline.join(lines)).encode())
    return folder / "records.jsonl"


def answer(source, index: int) -> str:
    return source[index].messages[-1]["content"]


def reason(source, index: int) -> str:
    with pytest.raises(RecordError) as caught:
        source[index]
    return caught.value.reason


def test_a_list_holds_records_of_both_forms(folder):
    source = open_dialogues(write_list(folder, [GOOD, CHAT, WIDE]))
    assert [answer(source, i) for i in range(len(source))] == ["a [cat],", "a dog.", "a [cat],"]
    assert source[0].messages[0]["content"][1]["text"] == 'what {is\\ "this"?}'
    assert source[1].messages[0]["content"] == [{"type": "image", "image": str(folder / "b.jpg")}]
    assert [source.where(i) for i in range(2)] == ["records.json[0] (id cat)", "records.json[1] (id 7)"]
    assert [source.group(i) for i in range(3)] == ["a.jpg", "b.jpg", "a.jpg"]


@pytest.mark.parametrize(("newline", "head"), [("\n", ""), ("\r\n", ""), ("\n", "\ufeff"), ("\r\n", "\ufeff")])
def test_lines_with_bad_ones_between(folder, newline, head):
    lines = [json.dumps(GOOD), "", '{"id": "cut', "5", json.dumps({"id": "x"}), json.dumps(GOOD | {"image": "c.jpg"})]
    source = open_dialogues(write_lines(folder, [*lines, json.dumps(CHAT)], newline, head))
    assert len(source) == 6 and (answer(source, 0), answer(source, 5)) == ("a [cat],", "a dog.")
    reasons = [reason(source, i) for i in range(1, 5)]
    assert reasons == ["not JSON", "not a record", "no conversations", "missing file"]
    places = [source.where(i) for i in range(6)]
    assert places[1:4] == ["records.jsonl:3", "records.jsonl:4", "records.jsonl:5 (id x)"]
    assert places[5] == "records.jsonl:7 (id 7)"
    assert [source.group(i) for i in range(3, 5)] == ["", "c.jpg"]
    for index in (1, 2):
        with pytest.raises(RecordError, match=reasons[index - 1]):
            source.group(index)


def test_a_comma_too_many_is_a_bad_record_of_a_list(folder):
    (folder / "records.json").write_text(f"[{json.dumps(GOOD)}, nul, ]")
    source = open_dialogues(folder / "records.json")
    assert len(source) == 3 and answer(source, 0) == "a [cat],"
    assert [reason(source, i) for i in (1, 2)] == ["not JSON", "not JSON"]


def test_media_are_in_a_folder_of_their_own_or_not_looked_for(folder, tmp_path_factory):
    file = write_list(tmp_path_factory.mktemp("elsewhere"), [GOOD])
    assert open_dialogues(file, media=folder)[0].messages[0]["content"][0]["image"] == str(folder / "a.jpg")
    assert reason(open_dialogues(file), 0) == "missing file"
    assert answer(open_dialogues(file, need_files=False), 0) == "a [cat],"


def test_a_list_may_begin_after_white_space_and_lines_may_be_packed(folder):
    (folder / "records.json").write_text(f" \n\n{json.dumps([GOOD])}")
    with gzip.open(folder / "records.jsonl.gz", "wt") as file:
        file.write(json.dumps(GOOD) + "\n" + json.dumps(CHAT))
    assert len(open_dialogues(folder / "records.json")) == 1
    assert answer(open_dialogues(folder / "records.jsonl.gz"), 1) == "a dog."


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "has no records"),
        (b" \n\n", "has no records"),
        (b"\xef\xbb\xbf[]", "has no records"),
        (b'{\n "data": [\n]\n}', "one JSON object over several lines"),
        (b"\x1f\x8b\x08", "is gzip"),
        ('[{"a": 1}]'.encode("utf-16"), "is UTF-16"),
    ],
)
def test_a_file_without_records_is_refused(tmp_path, data, expected):
    (tmp_path / "records.json").write_bytes(data)
    with pytest.raises(ValueError, match=expected):
        open_dialogues(tmp_path / "records.json")


def test_there_is_nothing_behind_the_last_record(folder):
    source = open_dialogues(write_list(folder, [GOOD]))
    for index in (-1, 1):
        with pytest.raises(IndexError):
            source[index]
    assert len(list(source)) == 1


def test_a_pickled_source_reads_the_same(folder):
    source = open_dialogues(write_list(folder, [GOOD | {"id": str(i)} for i in range(40)]))
    pickled = pickle.loads(pickle.dumps(source))
    assert [pickled[i].about["id"] for i in range(40)] == [str(i) for i in range(40)]
