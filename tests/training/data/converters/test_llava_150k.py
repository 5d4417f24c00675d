"""LLaVA-Instruct-150K: pictures are found in either COCO, what has none is counted."""

import json
from pathlib import Path

import pytest

from tests.training.data.converters.corpora import picture, text, turns
from training.data.sources.dialogues import open_dialogues

CONVERSATION = turns("<image>\nwhat is this?", "a bus.", "and its colour?", "red.")


def record(number: int, **changes) -> dict:
    name = f"{number:012d}"
    return {"id": name, "image": f"{name}.jpg", "conversations": CONVERSATION} | changes


def instructions(folder, *records, name="llava_instruct_150k"):
    text(folder / f"{name}.json", json.dumps(records, indent=1))


@pytest.mark.parametrize("place", ["train2017/{}.jpg", "train2014/COCO_train2014_{}.jpg", "coco/train2017/{}.jpg"])
def test_records_are_read_back_with_their_pictures(tmp_path, converted, place):
    root = tmp_path / "data"
    path = picture(root / place.format(f"{7:012d}"))
    instructions(root, record(7), record(7, conversations=CONVERSATION[2:]))
    result = converted("llava-150k", root)
    source = result.opened("llava_instruct_150k", open_dialogues)
    assert len(source) == 2 and source.group(0) == source.group(1) != ""
    assert source[0].messages[0]["content"][0] == {"type": "image", "image": str(path)}
    assert (source[0].task, source[0].about["id"]) == ("llava_instruct_150k", "000000000007")
    assert source[1].messages[0]["content"][-1]["text"] == "and its colour?"
    assert result.sources["llava_instruct_150k"]["kind"] == "questions"


def test_bad_records_are_counted_and_not_written(tmp_path, converted):
    root = tmp_path / "data"
    picture(root / "train2017/000000000007.jpg")
    instructions(root, record(7), record(8), record(7, conversations=turns("only a question")), 5)
    result = converted("llava-150k", root)
    assert len(result.lines("llava_instruct_150k")) == 1
    assert [(bad["reason"], bad["where"]) for bad in result.bad] == [
        ("missing file", "llava_instruct_150k.json[1]"),
        ("turns do not alternate", "llava_instruct_150k.json[2]"),
        ("not a record", "llava_instruct_150k.json[3]"),
    ]
    assert "train2017/000000000008.jpg" in result.bad[0]["detail"]


def test_descriptions_are_captions(tmp_path, converted):
    root = tmp_path / "data"
    picture(root / "train2017/000000000007.jpg")
    instructions(root, record(7), name="detail_23k")
    instructions(root, record(7), record(7, id="x"), name="conversation_58k")
    result = converted("llava-150k", root)
    kinds = {name: entry["kind"] for name, entry in result.sources.items()}
    assert kinds == {"detail_23k": "captions", "conversation_58k": "questions"}


def test_pictures_are_copied_once(tmp_path, converted):
    root = tmp_path / "data"
    path = picture(root / "train2017/000000000007.jpg")
    instructions(root, record(7), record(7, conversations=CONVERSATION[2:]))
    result = converted("llava-150k", root, copy=True)
    content = path.read_bytes()
    path.unlink()  # what was written stands alone
    shown = result.opened("llava_instruct_150k", open_dialogues)[1].messages[0]["content"][0]["image"]
    assert shown == str(result.out / "media/train2017/000000000007.jpg")
    assert Path(shown).read_bytes() == content


def test_nothing_is_copied_to_a_place_outside(tmp_path, converted):
    root = tmp_path / "data"
    picture(root / "train2017/000000000007.jpg")
    picture(tmp_path / "secret.jpg")
    names = ["../secret.jpg", str(tmp_path / "secret.jpg")]
    instructions(root, record(7), *(record(7, id=name, image=[name]) for name in names))
    result = converted("llava-150k", root, copy=True)
    assert [bad["reason"] for bad in result.bad] == ["cannot be copied"] * 2
    copied = [path for path in tmp_path.rglob("*.jpg") if result.out in path.parents]
    assert copied == [result.out / "media/train2017/000000000007.jpg"]


def test_pictures_that_are_nowhere_are_asked_for(tmp_path, converted):
    instructions(tmp_path / "data", record(7))
    with pytest.raises(ValueError, match="has no pictures: put COCO's folder train2017 or train2014 there"):
        converted("llava-150k", tmp_path / "data")
