"""Samples of WebDataset tars: records and captions with the media that are packed beside them."""

import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.media import open_sample
from training.data.record_error import RecordError
from training.data.record_forms import CAPTION_PROMPT
from training.data.record_media import group_of
from training.data.sources.dialogues import open_dialogues

SOUND, FILM = b"RIFF sound", b"a film"


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


PICTURES = [picture(seed) for seed in range(3)]


def pack(path: Path, files: dict[str, bytes | str | dict]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            content = json.dumps(content) if isinstance(content, dict | list) else content
            content = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def llava(*values: str, **fields) -> dict:
    turns = [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]
    return {"conversations": turns, **fields}


def chat(*parts: dict) -> dict:
    return {"messages": [{"role": "user", "content": list(parts)}, {"role": "assistant", "content": "yes."}]}


def one(folder: Path, **files):
    """The only sample of a tar of files by their extension."""
    pack(folder / "one.tar", {f"000.{name.replace('_', '.')}": content for name, content in files.items()})
    return open_dialogues(folder / "one.tar")[0]


def parts(sample) -> list:
    return [part[part["type"]] for part in sample.messages[0]["content"]]


def test_several_tars_are_one_source(tmp_path, tiny_config):
    pack(
        tmp_path / "a-0.tar",
        {"000.png": PICTURES[0], "000.txt": "a cat.\n", "000.cls": "5", "001.json": llava("hi", "hello.")},
    )
    pack(
        tmp_path / "a-1.tar",
        {"000.json": llava("<image>?", "a dog.", id="x"), "000.png": PICTURES[1], "README": "no dot"},
    )
    source = open_dialogues(tmp_path / "a-{0..1}.tar")
    assert len(source) == 3 and [source.where(i) for i in range(3)] == ["a-0.tar:000", "a-0.tar:001", "a-1.tar:000"]
    assert [source[i].about["id"] for i in range(3)] == ["000", "001", "x"]
    assert parts(source[0]) == [PICTURES[0], CAPTION_PROMPT] and source[0].messages[1]["content"] == "a cat.\n"
    assert parts(source[2]) == [PICTURES[1], "?"]
    opened = open_sample(source[2], tiny_config).messages[0]["content"][0]["image"]
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(Image.open(io.BytesIO(PICTURES[1]))))
    assert open_dialogues(tmp_path).fingerprint == source.fingerprint


def test_the_group_is_of_the_picture_wherever_it_is_packed(tmp_path):
    pack(tmp_path / "a.tar", {"0.png": PICTURES[0], "0.txt": "x", "1.png": PICTURES[1], "1.txt": "x", "2.txt": "y"})
    pack(tmp_path / "b.tar", {"folder/7.mp4": FILM, "folder/7.png": PICTURES[0], "folder/7.json": llava("hi", "x.")})
    a, b = open_dialogues(tmp_path / "a.tar"), open_dialogues(tmp_path / "b.tar")
    assert a.group(0) == b.group(0) != a.group(1) and a.group(2) == ""
    assert a.group(0) == group_of({"image": [{"bytes": PICTURES[0], "path": "y.png"}], "video": []})


def test_members_are_matched_to_what_a_record_names(tmp_path):
    two = {"0_png": PICTURES[0], "1_png": PICTURES[1]}
    named = llava("<image><image>", "x.", image=["train/000.1.png", "000.0.png"])
    assert parts(one(tmp_path, **two, json=named)) == [PICTURES[1], PICTURES[0]]
    other = llava("<image><image>", "x.", image=["coco/7.jpg", "coco/8.jpg"])
    assert parts(one(tmp_path, **two, json=other)) == [PICTURES[0], PICTURES[1]]
    assert parts(one(tmp_path, **two, json=llava("<image><image>", "x."))) == [PICTURES[0], PICTURES[1]]
    asked = chat({"type": "image"}, {"type": "audio"}, {"type": "video_url", "video_url": {"url": "film.mp4"}})
    assert parts(one(tmp_path, png=PICTURES[0], wav=SOUND, mp4=FILM, json=asked)) == [PICTURES[0], SOUND, FILM]


def test_a_caption_may_be_in_json(tmp_path):
    sample = one(tmp_path, jpg=PICTURES[0], json={"caption": "a cat.", "url": "https://x.org/a.jpg", "image": "a.jpg"})
    assert parts(sample) == [PICTURES[0], CAPTION_PROMPT] and sample.task == "caption"
    both = one(tmp_path, jpg=PICTURES[0], txt="a cat.", json={"width": 64})
    assert both.messages[1]["content"] == "a cat."


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"png": PICTURES[0], "cls": "5", "pyd": b"\x80\x04."}, "no text"),
        ({"png": PICTURES[0], "a_txt": "x", "b_txt": "y"}, "no text"),
        ({"txt": "a caption of nothing"}, "no media"),
        ({"png": PICTURES[0], "json": {"width": 64}}, "no conversations"),
        ({"png": PICTURES[0], "json": "{"}, "not JSON"),
        ({"png": PICTURES[0], "json": []}, "not a record"),
        ({"png": PICTURES[0], "txt": b"\xff\xfe"}, "not text"),
        ({"json": llava("<image>", "x.", image="a.jpg")}, "missing file"),
        ({"png": PICTURES[0], "json": llava("<image><image>", "x.", image=["a.jpg", "b.jpg"])}, "missing file"),
        ({"png": PICTURES[0], "wav": SOUND, "json": llava("<image>", "x.")}, "markers and files differ"),
    ],
)
def test_a_bad_sample_has_its_reason(tmp_path, files, reason):
    with pytest.raises(RecordError) as caught:
        one(tmp_path, **files)
    assert caught.value.reason == reason


def test_a_tar_that_is_cut_short_loses_its_last_sample_only(tmp_path):
    tar = pack(tmp_path / "a.tar", {"0.txt": "x", "0.png": PICTURES[0], "1.txt": "y", "1.png": PICTURES[1]})
    content = tar.read_bytes()
    tar.write_bytes(content[: content.index(PICTURES[1]) + 100])
    source = open_dialogues(tar)
    assert parts(source[0])[0] == PICTURES[0]
    with pytest.raises(RecordError, match=r"cut short: 1\.png: .*a\.tar ends before it does"):
        source[1]


def test_a_tar_that_is_exchanged_is_noticed(tmp_path):
    tar = pack(tmp_path / "a.tar", {"0.txt": "x", "0.png": PICTURES[0], "1.txt": "y", "1.png": PICTURES[1]})
    source = open_dialogues(tar)
    for content in (b"words " * 10_000, bytes(tar.stat().st_size)):
        tar.write_bytes(content)
        for read in (source.group, source.__getitem__):
            with pytest.raises(RecordError, match="unreadable tar"):
                read(1)
    assert re.fullmatch(r"a\.tar, byte \d+", source.where(1))


def test_the_fingerprint_is_of_names_sizes_and_content(tmp_path):
    prints = set()
    for files in ({"0.txt": "x"}, {"1.txt": "x"}, {"0.txt": "xy"}, {"0.txt": "y"}, {"0.txt": "x", "1.txt": "x"}):
        prints.add(open_dialogues(pack(tmp_path / "a.tar", files)).fingerprint)
    assert len(prints) == 5


def test_tars_without_samples_are_refused(tmp_path):
    pack(tmp_path / "a.tar", {"README": "no dot", ".hidden.jpg": "x"})
    with pytest.raises(ValueError, match=r"a\.tar has no samples"):
        open_dialogues(tmp_path / "a.tar")
