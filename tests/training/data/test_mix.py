"""mix.yaml: sources with kinds and weights; mistakes in one line with the number of the source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.data.mix import RECORDS, read_mix


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    turns = [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "good day."}]
    for name in ("captions", "questions"):
        records = [{"id": f"{name}{i}", "conversations": turns} for i in range(3)]
        (tmp_path / f"{name}.json").write_text(json.dumps(records))
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "a.jsonl").write_text('{"audio": "a.wav", "text": "hello"}\n')
    return tmp_path


def mix(folder: Path, text: str) -> Path:
    file = folder / "mix.yaml"
    file.write_text(text)
    return file


def test_sources_are_opened_relative_to_the_file(folder, monkeypatch):
    monkeypatch.chdir("/")
    read = read_mix(
        mix(
            folder,
            "sources:\n- {kind: captions, path: captions.json, weight: 2}\n- {kind: speech, path: speech/a.jsonl}\n",
        )
    )
    assert [(one.name, one.kind, one.weight, len(one.source)) for one in read.sources] == [
        ("captions", "captions", 2.0, 3),
        ("a", "speech", 1.0, 1),
    ]
    assert read.sources[0].source[1].about["id"] == "captions1" and read.kinds == ("captions", "speech")


def test_names_are_given_or_those_of_the_files(folder):
    entries = [
        "{kind: captions, path: captions.json}",
        "{kind: text, path: captions.json, name: captions-2}",
        "{kind: questions, path: captions.json}",
    ]
    read = read_mix(mix(folder, "sources:\n" + "".join(f"- {entry}\n" for entry in entries)))
    assert [one.name for one in read.sources] == ["captions", "captions-2", "captions-3"]


def test_a_plain_file_is_a_mix_of_one_source(folder):
    read = read_mix(folder / "captions.json")
    assert [(one.name, one.kind, one.weight) for one in read.sources] == [("captions", RECORDS, 1.0)]
    assert read_mix(folder / "speech" / "a.jsonl", plain="speech").sources[0].kind == "speech"


def test_the_fingerprint_is_of_records_kinds_and_weights(folder):
    def fingerprint(entry: str) -> str:
        return read_mix(mix(folder, f"sources:\n- {{path: captions.json, {entry}}}\n")).fingerprint

    first = fingerprint("kind: captions")
    assert fingerprint("kind: captions, weight: 1") == first
    others = {fingerprint("kind: captions, weight: 2"), fingerprint("kind: questions")}
    records = json.loads((folder / "captions.json").read_text())
    records[2]["conversations"][1]["value"] = "good night."
    (folder / "captions.json").write_text(json.dumps(records))
    assert len({first, *others, fingerprint("kind: captions")}) == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a", "has no list `sources:`"),
        ("sources: []", "has no list `sources:`"),
        ("sources:\n  - kind: [", "is not YAML: .* line 2"),
        ("sources:\n- {kind: pictures, path: a.json}", "source 1: no kind 'pictures'; there are: 'captions', 'quest"),
        ("sources:\n- {path: a.json}", "source 1: kind is missing: What the records are"),
        ("sources:\n- {kind: text, path: a, wieght: 2}", "source 1: no field 'wieght'; there are: kind, path, media"),
        ("sources:\n- {kind: text, path: a, weight: 0}", "source 1: weight: Input should be greater than 0"),
        ("sources:\n- text", "source 1: "),
        ("sources:\n- {kind: speech, path: a, format: json}", "source 1: no format 'json' of speech; there are: auto"),
        ("sources:\n- {kind: text, path: captions.json}\n- {kind: text, path: a}", r"source 2 \(a\): there is no file"),
        (
            "sources:\n- {kind: text, path: captions.json, name: a}\n- {kind: text, path: questions.json, name: a}",
            "two sources are called 'a'",
        ),
        ("sources: [{kind: text, path: ~}]", "source 1: path must be text, not None: A file, a folder or a pattern"),
        ("sources: [{kind: text, path: ''}]", "source 1: path: is empty; name a file or a folder"),
        ("sources: [5]", "source 1: each source has at least `kind:` and `path:`; this one is 5"),
        ("name: x\nsources:\n- {kind: text, path: captions.json}", "no field 'name'; there are: sources"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_that_says_what_would_be_right(folder, text, says):
    with pytest.raises(ValueError, match=says) as raised:
        read_mix(mix(folder, text))
    assert "\n" not in str(raised.value) and "mix.yaml" in str(raised.value)


def test_a_missing_file_is_named(folder):
    with pytest.raises(ValueError, match=r"cannot read .*nowhere.yaml: No such file"):
        read_mix(folder / "nowhere.yaml")
    with pytest.raises(ValueError, match=r"no file or folder .*nowhere.json"):
        read_mix(folder / "nowhere.json")


def test_a_picture_is_one_group_from_whichever_folder_it_is_named(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").symlink_to("images")
    names = {"a": "images/1.jpg", "b": "1.jpg", "elsewhere/c": "../images/1.jpg", "d": str(tmp_path / "images/1.jpg")}
    names |= {"e": "linked/1.jpg", "f": f"file://{tmp_path}/images/%31.jpg"}
    for name, image in names.items():
        turns = [{"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": "a bus."}]
        (tmp_path / f"{name}.json").write_text(json.dumps([{"image": image, "conversations": turns}] * 2))
    file = tmp_path / "mix.yaml"
    entries = [f"- {{kind: captions, path: {name}.json{', media: images' if name == 'b' else ''}}}\n" for name in names]
    file.write_text("sources:\n" + "".join(entries))
    assert [mixed.group(1) for mixed in read_mix(file).sources] == ["images/1.jpg"] * 6
    assert read_mix(tmp_path / "a.json").sources[0].group(0) == "images/1.jpg"


def test_a_recording_is_one_group_from_wherever_the_mix_is_named_and_a_speaker_his_name(tmp_path, monkeypatch):
    lines = ['{"audio": "wav/1.wav", "text": "a"}', f'{{"audio": "{tmp_path}/wav/1.wav", "text": "a"}}']
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, '{"audio": "wav/1.wav", "text": "a", "speaker": "ann"}']))
    file = mix(tmp_path, "sources:\n- {kind: speech, path: a.jsonl}")
    monkeypatch.chdir(tmp_path)
    for path in (file, file.name):
        (mixed,) = read_mix(path).sources
        assert [mixed.group(index) for index in range(3)] == ["wav/1.wav", "wav/1.wav", "ann"]
