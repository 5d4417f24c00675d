"""A whole run with a real program: what is written, what is drawn, what is left out, what fails."""

import base64
import json

import numpy as np
import pytest
from PIL import Image

from parley.config import preset
from parley.media.audio import read_audio, write_wav
from training.data.media import open_sample
from training.data.sample import SAMPLE_RATE
from training.data.source import Source
from training.data.sources.dialogues import open_dialogues
from training.data.speak.command import CommandEngine
from training.data.speak.recording import Recording
from training.data.speak.retry import Retries
from training.data.speak.run import SpeakRun
from training.data.speak.settings import SpeakSettings


def turns(*texts: str) -> list[dict]:
    return [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]


RECORDS = [
    {"id": "a", "image": "pictures/p.png", "conversations": turns("<image>\nWhat is this?", "A cat.", "Sure?", "Yes.")},
    {"id": "b", "conversations": turns("fail, please", "No.")},
    {"id": "c", "conversations": turns("<audio>", "Yes."), "audio": "said.wav"},
    {"id": "d", "conversations": turns("Hello", "")},
    {"id": "e", "conversations": turns("long " * 200, "Yes.")},
    {"id": "f", "set": "mine", "conversations": turns("<audio> And <image> this?", "Yes."), "audio": ["said.wav"],
     "image": ["pictures/p.png"]},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Records, their media, and a program that says every text but one with 1.2 s of sound."""
    data = tmp_path / "data"
    (data / "pictures").mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(data / "pictures" / "p.png")
    write_wav(data / "said.wav", np.sin(np.arange(3200) / 4), SAMPLE_RATE)
    write_wav(data / "speech.wav", 0.5 * np.sin(np.arange(19_200) / 4), SAMPLE_RATE)
    (data / "records.json").write_text(json.dumps(RECORDS))
    program = data / "tts"
    program.write_text(f'#!/bin/sh\ncase "$1" in fail*) exit 1;; esac\ncp {data}/speech.wav "$2"\n')
    program.chmod(0o755)
    return tmp_path


def run_of(folder, out="out", source: Source | None = None, sentences=("Tom, come here.",), **settings) -> SpeakRun:
    records = folder / "data" / "records.json"
    engine = CommandEngine(f"{folder}/data/tts {{text}} {{out}}")
    settings = SpeakSettings(**{"voices": ("x", "y"), "speeds": (0.8, 1.2)} | settings)
    source = open_dialogues(records) if source is None else source
    recording = Recording(settings.noise_chance, settings.music_chance, settings.room_chance)
    return SpeakRun(
        records, source, settings, engine, recording, sentences, folder / out, jobs=3, retries=Retries(2, 0.01)
    )


def lines(file) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_what_is_written(folder):
    summary, outcome = run_of(folder, negatives=6, cut=1.0).run()
    out = folder / "out"
    first, last = lines(out / "records.jsonl")
    assert first["conversations"] == turns("<image>\n<audio>", "A cat.", "<audio>", "Yes.")
    assert first["image"] == "../data/pictures/p.png" and first["transcripts"] == ["What is this?", "Sure?"]
    assert len({recording["voice"] for recording in first["recordings"]}) == 1
    assert last["set"] == "mine" and last["conversations"][0]["value"] == "<audio>\n<audio>\n<image>\n<audio>"
    assert last["audio"][0] == "../data/said.wav" and last["transcripts"] == [None, "And", "this?"]
    assert summary.questions == 4 and summary.records == {"records": 2, "cut": 2, "negatives": 6}
    assert outcome.failed == 1 and outcome.bad == 1
    assert outcome.left_out == {"no written question": 1, "a question of more than 600 characters": 1}
    failures = lines(out / "failed.jsonl")
    assert {line["where"] for line in failures} == {"records.json[1] (id b)", "records.json[3] (id d)"}
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["finished"] is False and manifest["counts"]["questions"] == 4
    seconds = sum(len(read_audio(file, SAMPLE_RATE)) for file in out.rglob("*.wav")) / SAMPLE_RATE
    assert manifest["counts"]["seconds"] == pytest.approx(seconds, abs=0.1)


def test_everything_that_is_written_can_be_trained_on(folder):
    run_of(folder, negatives=20, cut=1.0).run()
    for name in ("records", "negatives", "cut"):
        source = open_dialogues(folder / "out" / f"{name}.jsonl")
        for index in range(len(source)):
            sample = open_sample(source[index], preset("nano"))
            assert sample.state == ("speech" if name == "records" else "nothing")


def test_media_inside_records_are_written_as_files(folder):
    picture = base64.b64encode((folder / "data" / "pictures" / "p.png").read_bytes()).decode()
    record = {"image": f"data:image/png;base64,{picture}", "conversations": turns("What?", "Red.")}
    (folder / "data" / "records.json").write_text(json.dumps([record]))
    run_of(folder, cut=1.0).run()
    written = lines(folder / "out" / "records.jsonl")[0]
    assert written["image"] == "media/00000/00000000-image0.png" and written["id"] == "0"
    assert Image.open(folder / "out" / written["image"]).size == (40, 30)


def test_negatives_and_questions_cut_short(folder):
    run_of(folder, negatives=30, cut=1.0).run()
    negatives = lines(folder / "out" / "negatives.jsonl")
    assert {record["set"] for record in negatives} == {"noise", "unaddressed"}
    assert {len(record["conversations"]) for record in negatives} >= {2, 4}
    for record in negatives:
        assert record["inserted_id"] == len(record["conversations"]) - 1
        assert record["transcripts"][-1] == ("" if record["set"] == "noise" else "Tom, come here.")
    for record in lines(folder / "out" / "cut.jsonl"):
        about, heard = record["cut"], read_audio(folder / "out" / record["audio"][-1], SAMPLE_RATE)
        assert about["at"] == "clause" and about["seconds"] < about["whole"] == 1.2
        assert about["seconds"] < len(heard) / SAMPLE_RATE and record["transcripts"][-1] is None
        assert record["conversations"][record["inserted_id"]] == {"from": "gpt", "value": ""}


def test_a_dialogue_with_a_refusal_is_cut_in_front_of_it_alone(folder):
    """A record marks one answer as refused; the cut question is one."""
    record = {"conversations": turns("What?", "That.", "Tom, wait.", "", "Why?", "So."), "inserted_id": 3}
    (folder / "data" / "records.json").write_text(json.dumps([record | {"id": str(n)} for n in range(12)]))
    summary, outcome = run_of(folder, cut=1.0, negatives=4).run()
    assert summary.records["records"] == 12 and 0 < summary.records["cut"] < 12 and not outcome.bad
    assert {len(each["conversations"]) for each in lines(folder / "out" / "cut.jsonl")} == {2, 4}


def test_what_is_drawn_follows_from_seed_and_record(folder):
    run_of(folder, "one").run()
    run_of(folder, "two").run()
    run_of(folder, "other", seed=1).run()
    one, two, other = (lines(folder / name / "records.jsonl") for name in ("one", "two", "other"))
    assert one == two != other
    for first, second in zip(
        sorted((folder / "one").rglob("*.wav")), sorted((folder / "two").rglob("*.wav")), strict=True
    ):
        assert first.read_bytes() == second.read_bytes()


def test_what_failed_is_tried_again_and_nothing_else(folder):
    run_of(folder).run()
    written = {file: file.stat().st_mtime_ns for file in (folder / "out").rglob("*.wav")}
    (folder / "data" / "tts").write_text(f'#!/bin/sh\ncp {folder}/data/speech.wav "$2"\n')
    summary, outcome = run_of(folder).run()
    assert (outcome.failed, outcome.bad, summary.questions) == (0, 1, 5)
    assert [record["id"] for record in lines(folder / "out" / "records.jsonl")] == ["a", "b", "f"]
    assert all(file.stat().st_mtime_ns == time for file, time in written.items())
    assert json.loads((folder / "out" / "manifest.json").read_text())["finished"] is True


def test_a_share_of_the_records(folder):
    records = [{"id": "same", "conversations": turns("Hello", "Hi.")} for _ in range(60)]
    (folder / "data" / "records.json").write_text(json.dumps(records))
    run = run_of(folder, share=0.5)
    assert 18 < len(run.chosen()) < 42 and run.chosen() == run_of(folder, share=0.5).chosen()


def test_a_program_that_says_nothing_ends_the_run(folder):
    records = [{"id": str(number), "conversations": turns("fail", "Yes.")} for number in range(60)]
    (folder / "data" / "records.json").write_text(json.dumps(records))
    with pytest.raises(ValueError, match=r"20 records in a row were not spoken, the last: .*status 1"):
        run_of(folder).run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 3}, "options seed was 0, now 3"),
        ({"sentences": ()}, "options unaddressed"),
        ({}, "source fingerprint"),
    ],
)
def test_a_folder_of_another_run_is_refused(folder, change, message):
    run_of(folder).run()
    if not change:
        (folder / "data" / "records.json").write_text(json.dumps(RECORDS[:-1] + RECORDS[:1]))
    with pytest.raises(ValueError, match=message):
        run_of(folder, **change).run()


def test_a_folder_with_other_files_is_refused(folder):
    with pytest.raises(ValueError, match="holds other files"):
        run_of(folder, "data").run()
    (folder / "data" / "manifest.json").write_text('{"made_by": "another"}')
    with pytest.raises(ValueError, match="no manifest of spoken records"):
        run_of(folder, "data").run()
