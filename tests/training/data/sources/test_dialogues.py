"""Which format a path is of: by its name, by what is in the folder, or as it is said."""

import io
import json
import tarfile

import pytest

from training.data.sources.dialogues import format_of, open_dialogues

TURNS = [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi."}]


def write(path):
    """A record with an id that names its file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"id": path.name, "conversations": TURNS}
    if path.suffix == ".tar":
        with tarfile.open(path, "w") as tar:
            member, content = tarfile.TarInfo("000.json"), json.dumps(record).encode()
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    else:
        path.write_text(json.dumps(record) + "\n")
    return path


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["records.jsonl"], "records.jsonl"),
        (["one.json"], "."),
        (["records.jsonl", "other.json", "a.tar"], "."),
        (["metadata.jsonl", "a.jpg"], "."),
        (["data/a.tar", "a_stats.json"], "."),
        (["a.tar", "b.tar"], "b.tar"),
        (["a1.tar", "a2.tar"], "a{1..2}.tar"),
        (["a1.tar", "a2.tar"], "a*.tar"),
        (["x.txt"], "x.txt"),
    ],
)
def test_a_path_is_opened(tmp_path, files, name):
    for file in files:
        write(tmp_path / file)
    source = open_dialogues(tmp_path / name, format="json" if name == "x.txt" else "auto")
    assert [source[i].messages[1]["content"] for i in range(len(source))] == ["hi."] * len(source)
    assert len(source) == (2 if "a1.tar" in files else 1)


@pytest.mark.parametrize(
    ("files", "name", "format", "expected"),
    [
        ([], "nothing.json", "auto", "no file or folder"),
        (["records.txt"], "records.txt", "auto", "no known format"),
        (["records.txt"], "records.txt", "csv", "no format 'csv'"),
        (["a.jpg"], ".", "auto", "no dialogues in a format that is read"),
        (["train/metadata.jsonl", "test/metadata.jsonl"], ".", "auto", "name a folder in it: test, train"),
        (["a.json", "b.json"], ".", "auto", "2 files of records: name one of them: a.json, b.json"),
        (["a1.tar"], "a{1..2}.tar", "auto", r"no file .*a2\.tar"),
        (["a1.tar"], "b*.tar", "auto", "no file"),
        (["a.json"], ".", "webdataset", r"no \.tar file"),
        (["a.json"], "a.json", "webdataset", "no header of a tar at byte 0"),
    ],
)
def test_what_cannot_be_opened_is_said(tmp_path, files, name, format, expected):
    for file in files:
        write(tmp_path / file)
    with pytest.raises(ValueError, match=expected):
        open_dialogues(tmp_path / name, format=format)


def test_media_are_beside_the_records_or_where_it_is_said(tmp_path):
    for name in ("data/a.jpg", "media/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"media")
    line = json.dumps({"file_name": "a.jpg", "text": "a cat."}), json.dumps({"file_name": "b.jpg", "text": "a dog."})
    (tmp_path / "data" / "metadata.jsonl").write_text("\n".join(line))
    assert open_dialogues(tmp_path / "data")[0].messages[1]["content"] == "a cat."
    with pytest.raises(ValueError, match="missing file"):
        open_dialogues(tmp_path / "data")[1]
    assert open_dialogues(tmp_path / "data", media=tmp_path / "media")[1].messages[1]["content"] == "a dog."
    assert open_dialogues(tmp_path / "data", need_files=False)[1].task == "caption"


@pytest.mark.parametrize(
    ("files", "name", "format"),
    [
        (["a.jsonl.gz"], "a.jsonl.gz", "json"),
        (["data/train-0.parquet", "info.json"], ".", "parquet"),
        (["a.arrow"], ".", "parquet"),
        (["state.json", "dataset_info.json"], ".", "parquet"),
        ([], "train-*.parquet", "parquet"),
    ],
)
def test_the_format_of_other_paths(tmp_path, files, name, format):
    for file in files:
        write(tmp_path / file)
    assert format_of(tmp_path / name) == format
