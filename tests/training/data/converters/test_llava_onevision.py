"""LLaVA-OneVision-Data: Parquet stays where it is; each subset gets its kind."""

import pytest

from tests.training.data.converters.corpora import picture, table, turns
from training.data.converters.registry import find_layout
from training.data.sources.dialogues import open_dialogues


def row(number: int, content: bytes | None, *values: str) -> dict:
    image = None if content is None else {"bytes": content, "path": f"{number}.png"}
    return {"id": str(number), "image": image, "conversations": turns(*values), "data_source": "here"}


@pytest.fixture
def data(tmp_path):
    png = picture(tmp_path / "a.png").read_bytes()
    root = tmp_path / "LLaVA-OneVision-Data"
    good, bad = row(0, png, "<image>\nwhat?", "a cat."), row(1, png, "<image>\n<image> what?", "no.")
    table(root / "ai2d(gpt4v)/train-00000-of-00002.parquet", [good, bad, row(2, None, "a?", "b.")])
    table(root / "ai2d(gpt4v)/train-00001-of-00002.parquet", [row(3, png, "what?", "a dog.")])
    table(root / "sharegpt4v(coco)/train/0000.parquet", [row(4, png, "<image>", "a red field.")])
    table(root / "magpie_pro(l3_80b_st)/train-00000-of-00001.parquet", [row(5, None, "a?", "b.")])
    return root


def test_nothing_is_written_and_every_subset_has_its_kind(data, converted):
    result = converted("llava-onevision", data)
    kinds = {name: entry["kind"] for name, entry in result.sources.items()}
    assert kinds == {
        "ai2d(gpt4v)": "questions",
        "magpie_pro(l3_80b_st)": "text",
        "sharegpt4v(coco)": "captions",
    }
    assert sorted(path.name for path in result.out.iterdir()) == ["bad.jsonl", "mix.yaml"]
    assert result.sources["ai2d(gpt4v)"]["path"] == str(data / "ai2d(gpt4v)")


def test_records_are_counted_and_bad_ones_named(data, converted):
    result = converted("llava-onevision", data)
    assert [(bad["where"], bad["reason"]) for bad in result.bad] == [
        ("train-00000-of-00002.parquet[1]", "markers and files differ")
    ]
    assert result.summary.records == 5 and "3 records, 2 images, 1 bad" in str(result.summary)


def test_subsets_are_read_back_as_they_are(data, converted):
    source = converted("llava-onevision", data).opened("ai2d(gpt4v)", open_dialogues)
    assert len(source) == 4
    assert source[3].messages[1]["content"] == "a dog."
    assert [part["type"] for part in source[0].messages[0]["content"]] == ["image", "text"]


def test_a_subset_inside_another_is_refused_and_hidden_files_are_none(data, converted):
    subset = data / "ai2d(gpt4v)"
    table(data / ".cache/x.parquet", [row(9, None, "a?", "b.")])
    assert len(find_layout("llava-onevision").parts(data)) == 3
    table(subset / "more/x.parquet", [row(9, None, "a?", "b.")])
    with pytest.raises(ValueError, match=r"ai2d\(gpt4v\) has Parquet files, and so has .*more inside it"):
        converted("llava-onevision", data)


def test_one_subset_alone_and_a_file_that_was_cut(data, converted):
    subset = data / "ai2d(gpt4v)"
    file = subset / "train-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:100])
    result = converted("llava-onevision", subset)
    assert list(result.sources) == ["ai2d(gpt4v)"]
    assert [bad["reason"] for bad in result.bad] == ["markers and files differ", "unreadable Parquet file"]
