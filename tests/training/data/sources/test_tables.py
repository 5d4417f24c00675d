"""Rows of Parquet, Arrow and saved folders become the samples that the same records in JSON are."""

import io
import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from training.data.media import open_sample
from training.data.record_error import RecordError
from training.data.record_forms import CAPTION_PROMPT
from training.data.records import to_sample
from training.data.sources.dialogues import open_dialogues


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


PICTURES = [picture(seed) for seed in range(3)]


def turns(*values: str) -> list[dict]:
    return [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]


ROWS = [
    {"id": "0", "image": {"bytes": PICTURES[0], "path": "a.png"}, "conversations": turns("<image>?", "a cat.")},
    {"id": "1", "image": None, "conversations": turns("hi", "hello.")},
    {"id": "2", "image": {"bytes": None, "path": "b.png"}, "conversations": turns("<image>?", "a dog.")},
    {"id": "3", "image": {"bytes": PICTURES[1], "path": None}, "conversations": turns("<image>?", "")},
]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    datasets.disable_progress_bars()
    return folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data [1]").mkdir()
    (tmp_path / "data [1]" / "b.png").write_bytes(PICTURES[2])
    return tmp_path / "data [1]"


def write(path: Path, rows: list[dict]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def parts(sample) -> list:
    return [part[part["type"]] for part in sample.messages[0]["content"]]


def check_rows(source, folder: Path) -> None:
    assert len(source) == 4
    for index in range(3):
        assert source[index] == to_sample({k: v for k, v in ROWS[index].items() if v is not None}, folder)
    with pytest.raises(RecordError, match="empty answer"):
        source[3]
    groups = [source.group(i) for i in range(4)]
    assert groups[1:3] == ["", "b.png"] and len({groups[0], groups[3]}) == 2 and len(groups[0]) == 32


def test_parquet_is_unpacked_into_the_cache_alone(folder, cache, tiny_config):
    file = write(folder / "train-0.parquet", ROWS)
    source = open_dialogues(file)
    check_rows(source, folder)
    assert [source.where(i) for i in (0, 3)] == ["train-0.parquet[0] (id 0)", "train-0.parquet[3] (id 3)"]
    opened = open_sample(source[0], tiny_config).messages[0]["content"][0]["image"]
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(Image.open(io.BytesIO(PICTURES[0]))))
    assert sorted(entry.name for entry in folder.iterdir()) == ["b.png", "train-0.parquet"] and any(cache.iterdir())


def test_files_are_one_source_and_rows_are_counted_in_each(folder):
    write(folder / "train-0.parquet", ROWS[:3])
    write(folder / "train-1.parquet", ROWS[3:])
    pq.write_table(pq.read_table(folder / "train-0.parquet").slice(0, 0), folder / "train-2.parquet")
    for path in (folder, folder / "train-{0..2}.parquet", folder.parent / "data*" / "*.parquet"):
        source = open_dialogues(path)
        check_rows(source, folder)
        assert [source.where(i).split()[0] for i in (2, 3)] == ["train-0.parquet[2]", "train-1.parquet[0]"]


def test_a_name_of_two_splits_is_of_the_first(folder):
    write(folder / "train_val-0.parquet", ROWS[:1])
    write(folder / "train-0.parquet", ROWS[:1])
    assert len(open_dialogues(folder)) == 2


def test_a_changed_file_is_read_again(folder):
    first = open_dialogues(write(folder / "a.parquet", ROWS))
    second = open_dialogues(write(folder / "a.parquet", [ROWS[0] | {"id": "9"}, *ROWS[1:]]))
    assert (first[0].about["id"], second[0].about["id"]) == ("0", "9")
    assert first.fingerprint != second.fingerprint == open_dialogues(folder / "a.parquet").fingerprint


def test_what_datasets_saved_is_mapped_where_it_is(folder, cache):
    table = datasets.Dataset.from_list(ROWS)
    table.save_to_disk(folder / "saved")
    check_rows(open_dialogues(folder / "saved", media=folder), folder)
    arrow = next((folder / "saved").glob("*.arrow"))
    check_rows(open_dialogues(arrow, media=folder), folder)
    datasets.DatasetDict({"train": table}).save_to_disk(folder / "splits")
    source = open_dialogues(folder / "splits", media=folder)
    check_rows(source, folder)
    assert source.where(0) == "train[0] (id 0)"
    datasets.Dataset.from_list(ROWS[:2]).cast_column("image", datasets.Image()).save_to_disk(folder / "pictures")
    assert parts(open_dialogues(folder / "pictures")[0]) == [PICTURES[0], "?"]
    assert not any(cache.iterdir())


def test_lists_of_media_and_messages(folder):
    two = [{"bytes": PICTURES[0], "path": None}, {"bytes": PICTURES[1], "path": None}]
    empty = {"type": "image", "text": None}
    said = [{"role": "user", "content": [empty, {"type": "text", "text": "or"}, empty]}]
    said.append({"role": "assistant", "content": [{"type": "text", "text": "yes."}]})
    source = open_dialogues(write(folder / "a.parquet", [{"messages": said, "images": two}]))
    assert parts(source[0]) == [PICTURES[0], "or", PICTURES[1]]
    source = open_dialogues(write(folder / "b.parquet", [{"image": PICTURES[0], "caption": "a cat."}]))
    assert parts(source[0]) == [PICTURES[0], CAPTION_PROMPT]
    columns = {"from": ["human", "gpt"], "value": ["hi", "hello."]}  # a list of structs of older `datasets`
    source = open_dialogues(write(folder / "c.parquet", [{"conversations": columns}]))
    assert source[0].messages == to_sample({"conversations": turns("hi", "hello.")}).messages


def test_what_cannot_be_opened_is_said(folder):
    (folder / "words.parquet").write_bytes(b"PAR1 words")
    (folder / "words.arrow").write_bytes(b"words")
    write(folder / "other.parquet", [{"id": "0", "answer": "x"}])
    write(folder / "empty.parquet", ROWS)
    pq.write_table(pq.read_table(folder / "empty.parquet").slice(0, 0), folder / "empty.parquet")
    write(folder / "train-0.parquet", ROWS)
    write(folder / "test-0.parquet", ROWS)
    table = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(folder / "splits")
    (folder / "a.json").write_text(json.dumps(ROWS[1]))
    for name, format, expected in [
        ("words.parquet", "auto", "words.parquet cannot be read as one table: .*magic bytes"),
        ("words.arrow", "auto", "words.arrow cannot be read"),
        ("a.json", "parquet", "a.json .*magic bytes"),
        ("other.parquet", "auto", "no column conversations or messages.*only: id, answer"),
        ("empty.parquet", "auto", "has no rows"),
        ("t*.parquet", "auto", "has the splits test, train; name one"),
        ("splits", "auto", "has the splits test, train; name one, as .*splits/test"),
    ]:
        with pytest.raises(ValueError, match=expected):
            open_dialogues(folder / name, format=format)
